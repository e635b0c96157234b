"""What a step sends between processes, and how long that takes: a model in closed form.

Each collective is a ring: `n` processes in a circle, each sending to its neighbour over one link of so many
bytes a second, with so much latency a message (Thakur et al. 2005; the rings of NCCL and gloo).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

INT32, FLOAT32, FLOAT64 = 4, 4, 8
FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20
"""Bytes of DDP's first bucket and of the others: torch's defaults."""

Kind = Literal["all-reduce", "all-gather", "exchange", "broadcast"]


class Network(BaseModel):
    """Links between processes. bandwidth: bytes a second that a process sends. latency: seconds a message.

    source: where the two come from.
    """

    model_config = ConfigDict(extra="forbid")

    bandwidth: float = Field(gt=0)
    latency: float = Field(ge=0)
    source: str


INSIDE = Network(
    bandwidth=450e9,
    latency=3.4e-6,
    source="NVLink 4: half of 900 GB/s (H100 SXM data sheet); NCCL's tuning table, ring, simple",
)
BETWEEN = Network(
    bandwidth=50e9,
    latency=14e-6,
    source="InfiniBand NDR, 400 Gb/s a GPU (DGX H100 data sheet); NCCL's tuning table, ring, simple",
)
"""Defaults: inside a node of H100 GPUs, and between such nodes. No program reaches them whole."""


class Collective(NamedTuple):
    """What one or several calls send. bytes: over all calls, of the whole tensor (all-reduce, broadcast), of
    what one process puts in (all-gather), or of what it hands on to the next one (exchange). of: what it is.
    """

    kind: Kind
    bytes: int
    of: str
    calls: int = 1

    def messages(self, processes: int) -> int:
        """That follow each other."""
        if self.kind == "exchange":
            return self.calls
        return self.calls * (processes - 1) * (2 if self.kind == "all-reduce" else 1)

    def sent(self, processes: int) -> float:
        """Bytes that each process sends. All-reduce: 2 (n - 1) / n of the tensor, the least there can be."""
        if self.kind == "all-reduce":
            return 2 * (processes - 1) / processes * self.bytes
        # A ring hands a broadcast on in pieces: every process but the last sends it once.
        return (processes - 1) * self.bytes if self.kind == "all-gather" else self.bytes

    def seconds(self, processes: int, network: Network) -> float:
        """How long it takes where nothing hides it; 0 for one process alone."""
        if processes == 1:
            return 0.0
        return self.messages(processes) * network.latency + self.sent(processes) / network.bandwidth


class Shapes(BaseModel):
    """What decides how much an objective sends.

    parameters: numbers that learn. buffers: bytes of each type of buffer, which are sent together.
    width: of the features that images and texts are compared by. parts: named parts of the loss.
    """

    model_config = ConfigDict(extra="forbid")

    parameters: int
    buffers: list[int]
    width: int
    classes: int
    parts: int


@dataclass(frozen=True)
class Sends:
    """What an objective sends beyond gradients.

    collectives: of a step, by shapes, rows of each process, and processes. pairs: operations a pair of image
    and text and number of their features, in the loss. again: does accumulation take a second forward pass?
    """

    collectives: Callable[[Shapes, int, int], list[Collective]] = lambda *_: []
    pairs: int = 0
    again: bool = False


def _clip(shapes: Shapes, rows: int, processes: int) -> list[Collective]:  # noqa: ARG001
    features = Collective("all-gather", FLOAT32 * rows * 2 * shapes.width, "features of images and texts")
    return [features, Collective("all-gather", FLOAT32 * rows * 2, "log-sum-exps")]


def _siglip(shapes: Shapes, rows: int, processes: int) -> list[Collective]:
    # Texts visit all others; their gradient follows them, and comes home.
    hops = (processes - 1) + processes
    return [Collective("exchange", FLOAT32 * rows * shapes.width * hops, "texts and their gradient", hops)]


def _superclass(shapes: Shapes, rows: int, processes: int) -> list[Collective]:  # noqa: ARG001
    return [Collective("all-reduce", INT32 * shapes.classes, "document frequencies")]


def _superclip(shapes: Shapes, rows: int, processes: int) -> list[Collective]:
    return [*_clip(shapes, rows, processes), *_superclass(shapes, rows, processes)]


SENDS: dict[str, Sends] = {
    "catlip": Sends(),
    "superclass": Sends(_superclass),
    # Logits, and a product for each side's gradient.
    "siglip": Sends(_siglip, pairs=6, again=True),
    # Logits from images and from texts, and a product for each side's gradient: four times 2 D.
    "clip": Sends(_clip, pairs=8, again=True),
    "superclip": Sends(_superclip, pairs=8, again=True),
}


def collectives(objective: str, shapes: Shapes, rows: int, processes: int) -> list[Collective]:
    """All that a step sends, of so many rows of each process; nothing where one trains alone."""
    if processes == 1:
        return []
    return [
        gradients(shapes.parameters),
        # DDP: whatever a buffer holds is the first process's.
        *(Collective("broadcast", size, "buffers") for size in shapes.buffers),
        Collective("all-reduce", FLOAT64 * totals(shapes.parts, processes), "loss and its parts"),
        *SENDS.get(objective, Sends()).collectives(shapes, rows, processes),
    ]


def gradients(parameters: int) -> Collective:
    """DDP's all-reduce, in buckets."""
    size = FLOAT32 * parameters
    return Collective("all-reduce", size, "gradients", 1 + math.ceil(max(0, size - FIRST_BUCKET) / BUCKET))


def totals(parts: int, processes: int) -> int:
    """Numbers that the learner sums: loss, parts, images replaced, what each process tells, a norm."""
    return 1 + parts + 1 + 3 * processes + 1


def network_of(processes: int, per_node: int, inside: Network, between: Network) -> Network:
    """The links of a ring over all processes, as one that has their latency in the mean.

    As NCCL tunes its rings: of a ring's hops one a node is between nodes. Rings start at each process of a
    node, so that the links of all of them are at work between nodes.
    """
    if processes <= per_node:
        return inside
    nodes = math.ceil(processes / per_node)
    latency = (nodes * between.latency + (processes - nodes) * inside.latency) / processes
    bandwidth = between.bandwidth if per_node == 1 else min(inside.bandwidth, per_node * between.bandwidth)
    return Network(bandwidth=bandwidth, latency=latency, source=f"{inside.source}; {between.source}")


def exposed(sent: Sequence[Collective], processes: int, network: Network, backward: float) -> float:
    """Seconds that a step waits for. backward: seconds of the backward pass that sends gradients under way.

    Gradients are sent while the backward pass goes on, all but the last bucket; nothing else is hidden.
    """
    waited = 0.0
    for collective in sent:
        seconds = collective.seconds(processes, network)
        if collective.of == "gradients":
            waited += max(seconds / collective.calls, seconds - backward)
        else:
            waited += seconds
    return waited
