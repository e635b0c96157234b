"""The result of `bench step`."""

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
    """What one objective costs. Times in seconds, of one step of one process's batch.

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


class StepBenchmark(Measurement):
    """One training step of CatLIP against one of CLIP at the same batch.

    ratio: CLIP's step time over CatLIP's, of each round's pair. batch_size: images of each process.
    model: the open_clip configuration, whose image tower both have.
    context: tokens that the text tower reads of each caption. files: plots and the result that were written.
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
    files: list[str] = Field(default_factory=list)
