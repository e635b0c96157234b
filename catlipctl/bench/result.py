"""The results of benchmarks."""

import statistics
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from catlipctl.bench.provenance import clocks, revision
from catlipctl.results import Measurement

RESAMPLES = 2000


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


class Ratio(BaseModel):
    """One's time over another's: the median of the rounds' ratios, and its 95 % interval by bootstrap."""

    model_config = ConfigDict(extra="forbid")

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> "Ratio":
        """Of the rounds' ratios, each of a pair that ran one after the other; the rounds are resampled."""
        values = np.asarray(ratios)
        drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
        low, high = np.percentile(np.median(values[drawn], axis=1), (2.5, 97.5))
        return cls(median=float(np.median(values)), low=float(low), high=float(high))


class Benchmark(Measurement):
    """Base of the results of benchmarks. files: plots and the result that were written.

    clocks: of the processor and the GPUs in MHz, where they can be read. revision: of the git checkout that
    ran, `+` where it had changes; None where it was installed.
    """

    files: list[str] = Field(default_factory=list)
    clocks: dict[str, float] = Field(default_factory=clocks)
    revision: str | None = Field(default_factory=revision)


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

    ratio: to the matrix products in the same round; None for these. memory_bytes: alive at once of what it
    makes, beside weights, features and targets.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    seconds: Spread
    rounds: list[float]
    ratio: Spread | None
    memory_bytes: int


class LossCase(BaseModel):
    """One batch and vocabulary. flops_per_second: that the products reach."""

    model_config = ConfigDict(extra="forbid")

    batch_size: int
    classes: int
    flops_per_second: float
    rows: list[LossRow]


class LossBenchmark(Benchmark):
    """Head and loss, ours and torch's dense one, against the three matrix products of the same shapes.

    width: of the features. load: of the machine, an average over the last minute, before and after.
    """

    width: int
    device: str
    precision: str
    cases: list[LossCase]
    load: tuple[float, float]

    def bars(self) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
        """What `reports.head_and_loss` draws, by way and case: median milliseconds, and median ratios."""
        times: dict[str, dict[str, float]] = {}
        ratios: dict[str, dict[str, float]] = {}
        for case in self.cases:
            about = "" if len(self.cases) == 1 else f"{case.batch_size} x {case.classes:,}"
            for row in case.rows:
                times.setdefault(row.name, {})[about] = 1000 * row.seconds.median
                if row.ratio is not None:
                    ratios.setdefault(row.name, {})[about] = row.ratio.median
        return times, ratios


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
