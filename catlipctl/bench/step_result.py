"""The result of `bench step`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.bench.communication import Network
from catlipctl.bench.result import Benchmark, Ratio, Spread

COMMUNICATION = "communication"
How = Literal["measured", "estimated", "not measured"]


class Device(BaseModel):
    """How fast a process's device is. products: operations a second that a large matrix product reaches.

    peak: those that its maker states, and of what; None where it is not known.
    """

    model_config = ConfigDict(extra="forbid")

    products: float
    peak: float | None
    peak_of: str | None

    @property
    def most(self) -> float:
        """What utilisation is a share of: the stated peak, else what a product reaches here."""
        return self.peak or self.products


class Fitting(BaseModel):
    """The largest batch of one process that fits into memory, and how fast steps of it are.

    searched_to: no larger one was tried.
    """

    model_config = ConfigDict(extra="forbid")

    batch_size: int
    peak_memory_bytes: int
    searched_to: int
    images_per_second: float


class HostTime(BaseModel):
    """Captions to what the objective learns, in a loader's worker: seconds of a core a caption.

    first: of captions that are new to the process. again: of the same ones once more.
    """

    model_config = ConfigDict(extra="forbid")

    makes: Literal["labels", "tokens", "labels and tokens"]
    first: float
    again: float


class Traffic(BaseModel):
    """What a process sends in a step. sent: bytes by what they are. alone: seconds of all of it in these very
    processes while they do nothing else; predicted: by the model, on the links measured just before.
    """

    model_config = ConfigDict(extra="forbid")

    sent: dict[str, float]
    alone: Spread
    predicted: float


class StepRow(BaseModel):
    """What one objective, or a plain step, costs. Times in seconds, of one step of one process's batch.

    step: of all processes together. phases: forward, loss, backward, optimiser. parts: image tower, text
    tower, head and loss, optimiser, each forward and backward; empty for a plain step. Of several processes,
    phases and parts are of the same step in the same processes, each for itself, and `communication` among
    the parts is what the step takes longer than that. rounds: the spans of these steps, round by round.
    steps: the seconds of whole steps, round by round.
    parameters: of all that learns. flops: of a sample, by part: forward and backward, a multiplication and an
    addition counted as two. utilisation: of the device's peak (`StepCase.device`).
    peak_memory_bytes: on a GPU what the allocator held at most, on a CPU the peak of resident memory beyond
    what Python and its libraries take; state_bytes of it are weights, gradients and moments (and averages).
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    objective: str
    kind: Literal["ours", "plain"]
    context: int | None
    step: Spread
    phases: dict[str, Spread]
    parts: dict[str, Spread]
    images_per_second: float
    utilisation: float
    parameters: int
    flops: dict[str, int]
    flops_per_sample: int
    peak_memory_bytes: int | None
    state_bytes: int
    host: HostTime | None
    traffic: Traffic | None
    largest: Fitting | None
    steps: list[float]
    rounds: list[dict[str, float]]


class Estimate(BaseModel):
    """One objective under the paper's protocol on so many devices. compute, communication, waited: seconds of
    a step; communication is all that is sent, waited what no backward pass hides. hours: of all devices.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    objective: str
    processes: int
    nodes: int
    rows: int
    pieces: int
    compute: float
    communication: float
    waited: float
    step: float
    hours: float
    ratio: float
    how: How


class Answer(BaseModel):
    """One of the three answers: ratios to the first objective, by name. text: what it is of, or why not."""

    model_config = ConfigDict(extra="forbid")

    how: How
    text: str
    ratios: dict[str, float]


class StepCase(BaseModel):
    """One model, image size, precision and batch: all objectives in turns.

    ratios: a step over one of the first objective's, by name. plain: of ours, a plain step over it.
    explained: what each part adds to the ratio; together with 1 they are nearly it.
    answers: a, b, c.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    image_size: int
    precision: str
    batch_size: int
    rows: list[StepRow]
    ratios: dict[str, Ratio]
    plain: dict[str, Ratio]
    explained: dict[str, dict[str, float]]
    device: Device
    recompiled: int
    estimates: list[Estimate]
    answers: dict[str, Answer]

    def ours(self) -> list[StepRow]:
        """The rows of objectives."""
        return [row for row in self.rows if row.kind == "ours"]


class StepBenchmark(Benchmark):
    """Training steps of several objectives with the same image tower, batch and optimiser.

    clock: what seconds are told by: of one process on a CPU those that cores were at it, with one thread the
    clock's on an idle machine. processes: that stepped together, on `device`. classes: None for each
    objective's own.
    network: measured between the processes; None for one alone. assumed: what estimates go by.
    """

    device: str
    clock: Literal["core time", "wall clock"]
    processes: int
    classes: int | None
    optimiser: dict[str, Any]
    compiled: bool
    activation_checkpointing: bool
    ema: bool
    captions: str
    network: Network | None
    assumed: dict[str, Network] = Field(default_factory=dict)
    cases: list[StepCase]

    def bars(self) -> tuple[dict[str, dict[str, float]], str]:
        """What `reports.step` draws: medians of the parts by objective; and the ratios of pairs, in words."""
        bars, notes = {}, []
        for case in self.cases:
            about = f"{case.model}, {case.image_size} px, {case.precision}, {case.batch_size} images"
            for row in case.ours():
                name = row.name if len(self.cases) == 1 else f"{row.name}\n{about}"
                bars[name] = {part: spread.median for part, spread in row.parts.items()}
            first, told = case.rows[0].name, []
            for name, ratio in case.ratios.items():
                told.append(f"{name} {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
            if told:
                place = "" if len(self.cases) == 1 else f" ({about})"
                notes.append(f"Steps over a {first} step{place}: {', '.join(told)}.")
        note = "Medians over rounds of pairs of whole steps, so not the ratios of the bars."
        return bars, " ".join([*notes, note]) if notes else ""
