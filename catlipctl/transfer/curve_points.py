"""The points of a curve, and what they come to over the seeds."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catlipctl import files
from catlipctl.errors import CatlipctlError, DataError
from catlipctl.progress import Progress
from catlipctl.results import Measurement
from catlipctl.transfer.labelled import TrainSize
from catlipctl.transfer.metrics import Interval, mean_interval
from catlipctl.transfer.probes.frozen import Probed
from catlipctl.transfer.probes.linear import PROTOCOL, Init

FAST = "fast"
POINTS = "points"
KIND = files.FileKind("a point of a curve", 2**20, DataError, "remove it: it is made again")
Wanted = tuple[TrainSize, Init, int]
"""Of a point: the seed is that of its subset."""


class Point(BaseModel):
    """One fitted classifier; `seed` drew its training images. Accuracies in 0..1.

    protocol: `fast`, or the name of a recipe by which it was trained. regularisation, prior_scale: of a fast
    one. recipe: what decided a trained one. solver_seconds: to fit it.
    """

    protocol: str = FAST
    init: Init
    train_size: str
    seed: int
    train_images: int
    acc1: float
    acc5: float
    mean_per_class_recall: float
    regularisation: float | str | None = None
    prior_scale: float | None = None
    recipe: dict[str, Any] | None = None
    solver_seconds: float


class SizeScore(BaseModel):
    """An init's mean top-1 accuracy over the seeds; the interval is Student's t's, None of one seed."""

    protocol: str = FAST
    init: Init
    train_size: str
    train_images: int
    seeds: int
    acc1: float
    acc1_interval: Interval | None


class SizeGain(BaseModel):
    """How far `transfer` is above `random` on the same subsets: mean over the seeds, and its interval."""

    protocol: str = FAST
    train_size: str
    seeds: int
    gain: float
    gain_interval: Interval | None


class Curve(Probed, Measurement):
    """Accuracy by train size, in ascending order.

    points: all that lie in the folder, those of earlier calls too; reused: how many of them were not made
    anew. zero_shot_acc1: of the mapped head without a label, centred on all unlabelled training images; None
    without one.
    """

    protocol: str = PROTOCOL
    folder: str
    by_train_size: list[SizeScore]
    gains: list[SizeGain]
    points: list[Point]
    reused: int
    zero_shot_acc1: float | None
    zero_shot_acc1_interval: Interval | None
    majority_share: float
    train_images: int
    test_images: int
    classes: int


def scores(points: Sequence[Point]) -> list[SizeScore]:
    """The mean of each protocol and init at each train size, over the seeds."""
    series: dict[tuple[str, str, Init], list[Point]] = {}
    for point in points:
        series.setdefault((point.protocol, point.train_size, point.init), []).append(point)
    return [
        SizeScore(
            protocol=protocol,
            init=init,
            train_size=size,
            train_images=round(sum(point.train_images for point in found) / len(found)),
            seeds=len(found),
            acc1=sum(point.acc1 for point in found) / len(found),
            acc1_interval=mean_interval([point.acc1 for point in found]),
        )
        for (protocol, size, init), found in series.items()
    ]


def gains(points: Sequence[Point]) -> list[SizeGain]:
    """What `transfer` gains by each protocol at each train size, where a seed has both inits."""
    pairs: dict[tuple[str, str], dict[int, dict[Init, float]]] = {}
    for point in points:
        pairs.setdefault((point.protocol, point.train_size), {}).setdefault(point.seed, {})[point.init] = (
            point.acc1
        )
    sums = []
    for (protocol, size), seeds in pairs.items():
        found = [both["transfer"] - both["random"] for both in seeds.values() if len(both) == 2]
        if found:
            mean = sum(found) / len(found)
            sums.append(
                SizeGain(
                    protocol=protocol,
                    train_size=size,
                    seeds=len(found),
                    gain=mean,
                    gain_interval=mean_interval(found),
                )
            )
    return sums


def point_path(folder: Path, protocol: str, size: TrainSize, init: Init, seed: int) -> Path:
    """Where a finished point lies."""
    spelled = re.sub(r"[^0-9a-z.]+", "-", str(size).replace("%", "-percent"))
    start = "" if protocol == FAST else f"{protocol}-"
    return folder / POINTS / f"{start}{spelled}-{init}-{seed}.json"


def read_point(path: Path, progress: Progress) -> Point | None:
    """A finished point; None where there is none, or with a note where it is damaged."""
    try:
        return KIND.read_json(path, Point) if path.exists() else None
    except CatlipctlError as error:
        progress.note(f"{error.message}; it is made again")
        return None
