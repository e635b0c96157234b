"""What labels are worth: probes of many subsets of the training images, from one extraction.

CatLIP's Figures 5 and 7: accuracy by the share of the data, a line an init. Every init is given the same
subsets, which a seed decides: what an init gains is told by the differences, subset by subset.
"""

import hashlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catlipctl import files
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.errors import CatlipctlError, DataError, UsageError
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.training.world import World
from catlipctl.transfer.features import untrained
from catlipctl.transfer.features.cache import identity
from catlipctl.transfer.initialise import prior_rows
from catlipctl.transfer.labelled import TrainSize
from catlipctl.transfer.metrics import Interval, majority_share, mean_interval
from catlipctl.transfer.metrics.answers import RESULT
from catlipctl.transfer.probes.frozen import Frozen, Probed, answers, frozen
from catlipctl.transfer.probes.linear import PROTOCOL, Init, probe
from catlipctl.transfer.probes.zero_shot import zero_shot

ABOUT = "curve.json"
POINTS = "points"
KIND = files.FileKind("a point of a curve", 2**20, DataError, "remove it: it is made again")


class Point(BaseModel):
    """One fitted classifier; `seed` drew its training images. Accuracies in 0..1."""

    init: Init
    train_size: str
    seed: int
    train_images: int
    acc1: float
    acc5: float
    mean_per_class_recall: float
    regularisation: float | str
    prior_scale: float
    solver_seconds: float


class SizeScore(BaseModel):
    """An init's mean top-1 accuracy over the seeds; the interval is Student's t's, None of one seed."""

    init: Init
    train_size: str
    train_images: int
    seeds: int
    acc1: float
    acc1_interval: Interval | None


class SizeGain(BaseModel):
    """How far `transfer` is above `random` on the same subsets: mean over the seeds, and its interval."""

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


def curve(
    checkpoint: Checkpoint,
    train: Source,
    test: Source | None,
    *,
    train_sizes: Sequence[str],
    inits: Sequence[Init] = ("transfer", "random"),
    seeds: int = 1,
    out: Path | None = None,
    root: Path = Path("runs"),
    name: str = "curve",
    target: LabelSet | None = None,
    random_backbone: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    cpu: bool = False,
    workers: int = 0,
    progress: Progress = SILENT,
) -> Curve:
    """Probes of every train size, init and seed (`seed` and the next ones), into `out` or ROOT/NAME.

    A finished point is a file of the folder, and is not made again; a folder of another tower or of other
    data is refused (UsageError), and of ROOT/NAME the next number is taken. `seed` alone decides the split.
    Other arguments are those of `linear_probe`.
    """
    sizes = [TrainSize.parse(text) for text in train_sizes]
    tower = untrained(checkpoint, seed) if random_backbone else checkpoint.tower
    about = {
        "protocol": PROTOCOL,
        "features": [identity(tower, source) for source in (train, test) if source is not None],
        "classes": None if target is None else _digest([(x.name, x.synsets) for x in target.labels]),
        "random_backbone": random_backbone,
        "seed": seed,
    }
    world = World(cpu=cpu)
    folder = world.on_main(lambda: _folder(out, root / name, about))
    found = frozen(
        checkpoint,
        train,
        test,
        world=world,
        target=target,
        random_backbone=random_backbone,
        seed=seed,
        cache=cache,
        workers=workers,
        progress=progress,
    )
    result = world.on_main(lambda: _drawn(found, folder, sizes, inits, seeds, progress))
    world.close()
    return result


def _folder(out: Path | None, default: Path, about: dict[str, Any]) -> Path:
    """The folder of this curve: new, or with points of the same tower and data."""
    folder, number = out or default, 2
    while folder.exists() and not _same(folder / ABOUT, about):
        if out is not None:
            raise UsageError(
                f"{folder} holds something else: points of another tower, other data or another split",
                "name another folder with --out, or leave --out away",
            )
        folder, number = default.with_name(f"{default.name}-{number}"), number + 1
    if not folder.exists():
        files.write_json(folder / ABOUT, about)
    return folder


def _same(path: Path, about: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(path.read_text()) == json.loads(json.dumps(about)))
    except (OSError, ValueError):
        return False


def _drawn(
    found: Frozen,
    folder: Path,
    sizes: Sequence[TrainSize],
    inits: Sequence[Init],
    seeds: int,
    progress: Progress,
) -> Curve:
    """Make the points that are missing, and sum up all of them."""
    sets, started = found.sets, time.monotonic()
    head = found.head(progress)
    if head is None and "transfer" in inits:
        progress.warn("without rows that fit there is no line of init transfer")
        inits = ("random",)
    wanted = [(size, init, found.seed + draw) for size in sizes for draw in range(seeds) for init in inits]
    missing = [each for each in wanted if _read(folder, *each, progress) is None]
    with progress.task("probes", len(wanted), "probes", done=len(wanted) - len(missing)) as task:
        for size, init, seed in missing:
            begun = time.monotonic()
            _, scores = probe(sets, head, train_size=size, init=init, seed=seed)
            point = Point(
                init=init,
                train_size=str(size),
                seed=seed,
                train_images=scores.train_images,
                acc1=scores.acc1,
                acc5=scores.acc5,
                mean_per_class_recall=scores.mean_per_class_recall,
                regularisation=scores.choice.regularisation,
                prior_scale=scores.choice.prior_scale,
                solver_seconds=round(time.monotonic() - begun, 3),
            )
            files.write_json(_path(folder, size, init, seed), point.model_dump(mode="json"))
            task.advance(acc1=scores.acc1)
    points = [KIND.read_json(path, Point) for path in sorted((folder / POINTS).glob("*.json"))]
    points.sort(key=lambda point: (point.train_images, point.train_size, point.init, point.seed))
    figures: dict[str, Any] = {}
    if head is not None:
        figures = answers(zero_shot(sets.train.values, prior_rows(head)), sets).figures(found.seed)
    result = Curve(
        **found.probed(time.monotonic() - started),
        folder=str(folder),
        by_train_size=_scores(points),
        gains=_gains(points),
        points=points,
        reused=len(points) - len(missing),
        zero_shot_acc1=figures.get("acc1"),
        zero_shot_acc1_interval=figures.get("acc1_interval"),
        majority_share=majority_share(sets.test.labels),
        train_images=len(sets.train.labels),
        test_images=len(sets.test.labels),
        classes=len(sets.classes),
        seed=found.seed,
    )
    result.write(folder / RESULT)
    return result


def _path(folder: Path, size: TrainSize, init: Init, seed: int) -> Path:
    spelled = re.sub(r"[^0-9a-z.]+", "-", str(size).replace("%", "-percent"))
    return folder / POINTS / f"{spelled}-{init}-{seed}.json"


def _read(folder: Path, size: TrainSize, init: Init, seed: int, progress: Progress) -> Point | None:
    """A finished point; None where there is none, or with a note where it is damaged."""
    path = _path(folder, size, init, seed)
    try:
        return KIND.read_json(path, Point) if path.exists() else None
    except CatlipctlError as error:
        progress.note(f"{error.message}; it is made again")
        return None


def _scores(points: Sequence[Point]) -> list[SizeScore]:
    series: dict[tuple[str, Init], list[Point]] = {}
    for point in points:
        series.setdefault((point.train_size, point.init), []).append(point)
    return [
        SizeScore(
            init=init,
            train_size=size,
            train_images=round(sum(point.train_images for point in found) / len(found)),
            seeds=len(found),
            acc1=sum(point.acc1 for point in found) / len(found),
            acc1_interval=mean_interval([point.acc1 for point in found]),
        )
        for (size, init), found in series.items()
    ]


def _gains(points: Sequence[Point]) -> list[SizeGain]:
    pairs: dict[str, dict[int, dict[Init, float]]] = {}
    for point in points:
        pairs.setdefault(point.train_size, {}).setdefault(point.seed, {})[point.init] = point.acc1
    gains = []
    for size, seeds in pairs.items():
        found = [both["transfer"] - both["random"] for both in seeds.values() if len(both) == 2]
        if found:
            mean = sum(found) / len(found)
            gains.append(
                SizeGain(train_size=size, seeds=len(found), gain=mean, gain_interval=mean_interval(found))
            )
    return gains


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
