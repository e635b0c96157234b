"""The results of benchmarks."""

import statistics
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.results import Measurement


class Spread(BaseModel):
    """Median and quartiles of a quantity over the rounds."""

    model_config = ConfigDict(extra="forbid")

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value; quartiles by linear interpolation (NumPy's default)."""
        if len(values) == 1:
            return cls(median=values[0], low=values[0], high=values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median=median, low=low, high=high)


class ObjectiveRow(BaseModel):
    """What one objective, or a plain step, costs. Times in seconds, of one step of one process's batch.

    phases: forward, loss, backward, optimiser, in this order. rounds: the seconds of each, round by round.
    parameters: of all that learns (CLIP: both towers).
    flops_per_sample: of forward, loss and backward, a multiplication and an addition counted as two.
    peak_memory_bytes: with parameters, gradients and the optimiser's state; on a GPU what the allocator held
    at most, on a CPU the peak of resident memory beyond what Python and its libraries take.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    step: Spread
    phases: dict[str, Spread]
    images_per_second: float
    parameters: int
    flops_per_sample: int
    peak_memory_bytes: int
    rounds: list[dict[str, float]]


class Benchmark(Measurement):
    """Base of the results of benchmarks. files: plots and the result that were written."""

    files: list[str] = Field(default_factory=list)


class Fitting(BaseModel):
    """The largest batch of one process that fits into memory. searched_to: no larger one was tried."""

    model_config = ConfigDict(extra="forbid")

    batch_size: int
    peak_memory_bytes: int
    searched_to: int


class DeviceUse(BaseModel):
    """What the steps make of a device.

    products: operations a second that a large matrix product reaches on it. peak: those that its maker
    states, and of what; None where it is not known. head_and_loss: seconds of CatLIP's head and loss alone,
    forward and backward. recompiled: what was compiled while steps were timed. largest: None where it was
    not searched.
    """

    model_config = ConfigDict(extra="forbid")

    products: float
    peak: float | None
    peak_of: str | None
    head_and_loss: Spread
    recompiled: int
    largest: Fitting | None


class StepBenchmark(Benchmark):
    """One training step of CatLIP against one of CLIP at the same batch.

    ratio: CLIP's step time over CatLIP's, of each round's pair. plain: objective -> the time of a plain timm
    or open_clip step over ours, of each round's pair; empty where none was measured.
    batch_size: images of each process.
    model: the open_clip configuration, whose image tower both have.
    context: tokens that the text tower reads of each caption. compiled: the image towers of ours.
    use: None in results of earlier versions.
    """

    model: str
    image_size: int
    context: int
    classes: int
    batch_size: int
    processes: int
    device: str
    precision: str
    optimiser: dict[str, Any]
    rows: list[ObjectiveRow]
    ratio: Spread
    plain: dict[str, Spread] = Field(default_factory=dict)
    compiled: bool = False
    use: DeviceUse | None = None

    def bars(self) -> tuple[dict[str, dict[str, float]], str]:
        """What `reports.step` draws: medians of the phases by objective; and the ratio of the pairs, in
        words.
        """
        phases = {row.name: {phase: times.median for phase, times in row.phases.items()} for row in self.rows}
        first, second = self.rows[0].name, self.rows[1].name
        note = (
            f"A {second} step takes {self.ratio.median:.2f} times as long as a {first} step (quartiles "
            f"{self.ratio.low:.2f} to {self.ratio.high:.2f}). This is the median over rounds, each a pair of "
            "whole steps, so not the ratio of the bars."
        )
        return phases, note


class LoopRow(BaseModel):
    """How fast a loop trains. images_per_second: over the rounds; rounds: of each."""

    model_config = ConfigDict(extra="forbid")

    name: str
    images_per_second: Spread
    rounds: list[float]


class LoopBenchmark(Benchmark):
    """The loop that trains against a bare one that clips and averages too, on a batch of synthetic images.

    rows: ours, then the bare one's. ratio: ours over the bare one's images a second, of
    each round's pair. load: of the machine, an average over the last minute, before and after.
    """

    model: str
    image_size: int
    classes: int
    batch_size: int
    device: str
    precision: str
    compiled: bool
    rows: list[LoopRow]
    ratio: Spread
    load: tuple[float, float]

    def bars(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
        """What `reports.loop` draws: median images a second, and the median ratio, by loop."""
        ours, bare = self.rows
        speeds = {row.name: {"": row.images_per_second.median} for row in (ours, bare)}
        return speeds, {ours.name: {"": self.ratio.median}}


class LossRow(BaseModel):
    """What one way takes. seconds: of forward and backward, over the rounds; rounds: of each.

    ratio: to the matrix products in the same round; None for these.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    seconds: Spread
    rounds: list[float]
    ratio: Spread | None


class LossBenchmark(Benchmark):
    """Head and loss, ours and torch's dense one, against the three matrix products of the same shapes.

    width: of the features. flops_per_second: that the products reach. load: of the machine, an average over
    the last minute, before and after.
    """

    batch_size: int
    classes: int
    width: int
    device: str
    precision: str
    flops_per_second: float
    rows: list[LossRow]
    load: tuple[float, float]

    def bars(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
        """What `reports.head_and_loss` draws: median milliseconds, and median ratios, by way."""
        times = {row.name: {"": 1000 * row.seconds.median} for row in self.rows}
        return times, {row.name: {"": row.ratio.median} for row in self.rows if row.ratio is not None}


class LabelsRow(BaseModel):
    """How fast one path makes labels of captions. Speeds are captions a second of one core's time.

    set_up_seconds: imports and the loading of data, up to the first caption; in no speed.
    cold: each caption once, in a process that has read none before. warm: passes over the same again; of a
    slow path over the first `warm_captions`.
    remembered: share of the chunks between white space whose labels the extractor still had, in the cold
    pass and in the warm ones; None for the reference, which remembers nothing. Chunks of captions that are
    only understood as a whole are never looked up, and do not count as forgotten.
    labels: of a caption on average, repeats counted. without_label: share of captions.
    cold_ratio, warm_ratio: to the reference path's speeds in the same run.
    core_share: of the time by the clock, how much the machine gave to the process.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    version: str
    set_up_seconds: float
    cold: float
    warm: Spread
    warm_best: float
    warm_captions: int
    remembered: float | None
    remembered_warm: float | None
    labels: float
    without_label: float
    cold_ratio: float | None
    warm_ratio: float | None
    core_share: float


class LabelsBenchmark(Benchmark):
    """Captions to labels on one core: each extractor, and the released label function on NLTK (`reference`).

    captions: read by every row, each once cold. distinct: different ones among them.
    differences: captions on which `corenet` and `reference` do not agree label by label; None where there is
    no reference. left_out: what had no data here -> the command that brings them. load: of the machine, an
    average over the last minute, before and after.
    """

    captions: int
    distinct: int
    passes: int
    rows: list[LabelsRow]
    differences: int | None
    left_out: dict[str, str] = Field(default_factory=dict)
    load: tuple[float, float]

    def bars(self) -> dict[str, dict[str, float]]:
        """What `reports.labels` draws: captions a second by row, cold and warm."""
        return {row.name: {"cold": row.cold, "warm": row.warm.median} for row in self.rows}


class LoaderRow(BaseModel):
    """How fast one path makes training chunks of images. images_per_second: over the rounds.

    rounds: images a second of each, in the same rounds as the other paths of this size.
    ratio: to the path of webdataset in the same round, None for itself and where it is left out.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    size: int
    images_per_second: Spread
    rounds: list[float]
    ratio: Spread | None


class LoaderBenchmark(Benchmark):
    """Images of a shard to uint8 chunks `[64, S, S, 3]`: our two ways, and webdataset with torchvision.

    images: of which the shard was made, all readable. formats: how many there are of each. width, height,
    bytes: medians. workers: of each path; without any, speeds are of a core's time, else by the clock.
    left_out: what is not installed -> the command that brings it.
    """

    images: int
    formats: dict[str, int]
    width: float
    height: float
    bytes: float
    chunk: int
    workers: int
    rows: list[LoaderRow]
    left_out: dict[str, str] = Field(default_factory=dict)

    def bars(self) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
        """What `reports.loader` draws: median images a second, and median ratios, by path and size."""
        speeds: dict[str, dict[int, float]] = {}
        ratios: dict[str, dict[int, float]] = {}
        for row in self.rows:
            speeds.setdefault(row.name, {})[row.size] = row.images_per_second.median
            if row.ratio is not None:
                ratios.setdefault(row.name, {})[row.size] = row.ratio.median
        return speeds, ratios
