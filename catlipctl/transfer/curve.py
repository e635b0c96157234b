"""What labels are worth: probes of many subsets of the training images, from one extraction.

CatLIP's Figures 5 and 7: accuracy by the share of the data, a line an init. Every init is given the same
subsets, which a seed decides: what an init gains is told by the differences, subset by subset.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from catlipctl import files
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.errors import UsageError
from catlipctl.labels.targets import LabelSet
from catlipctl.labels.targets import Mapping as Reading
from catlipctl.progress import SILENT, Progress
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.training.world import World
from catlipctl.transfer.curve_points import (
    FAST,
    KIND,
    POINTS,
    Curve,
    Point,
    Wanted,
    gains,
    point_path,
    read_point,
    scores,
)
from catlipctl.transfer.curve_trained import trained
from catlipctl.transfer.features import untrained
from catlipctl.transfer.features.cache import identity
from catlipctl.transfer.initialise import Rows, prior_rows
from catlipctl.transfer.labelled import TrainSize
from catlipctl.transfer.metrics import majority_share
from catlipctl.transfer.metrics.answers import RESULT
from catlipctl.transfer.probes.frozen import Frozen, answers, frozen
from catlipctl.transfer.probes.linear import PROTOCOL, Init, probe
from catlipctl.transfer.probes.zero_shot import zero_shot

ABOUT = "curve.json"


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
    mapping: Reading = "heads",
    rows: Rows = "calibrated",
    random_backbone: bool = False,
    seed: int = 0,
    multi_label: bool | None = None,
    label_base: int | None = None,
    cache: Path | None = None,
    cpu: bool = False,
    workers: int = 0,
    recipes: Mapping[str, FinetuneRecipe] = MappingProxyType({}),
    fast: bool = True,
    progress: Progress = SILENT,
) -> Curve:
    """Probes of every train size, init and seed (`seed` and the next ones), into `out` or ROOT/NAME.

    recipes: by which to train probes of the same images too, as the paper does (`curve_trained`). fast: make
    points from features, too. A finished point is a file of the folder, and is not made again; a folder of
    another tower or of other data is refused (UsageError), and of ROOT/NAME the next number is taken. `seed`
    alone decides the split. Other arguments are those of `linear_probe`.
    """
    sizes = [TrainSize.parse(text) for text in train_sizes]
    tower = untrained(checkpoint, seed) if random_backbone else checkpoint.tower
    about = {
        "protocol": PROTOCOL,
        "features": [identity(tower, source) for source in (train, test) if source is not None],
        "classes": None if target is None else _digest([(x.name, x.synsets) for x in target.labels]),
        "mapping": mapping,
        "rows": rows,
        "random_backbone": random_backbone,
        "seed": seed,
        "label_base": label_base,
    }
    world = World(cpu=cpu)
    if recipes and world.size > 1:
        raise UsageError(
            "protocols by training draw a curve in one process", "leave out --gpus and --processes"
        )
    folder = world.on_main(lambda: _folder(out, root / name, about))
    found = frozen(
        checkpoint,
        train,
        test,
        world=world,
        target=target,
        mapping=mapping,
        rows=rows,
        random_backbone=random_backbone,
        seed=seed,
        multi_label=multi_label,
        label_base=label_base,
        cache=cache,
        workers=workers,
        progress=progress,
    )
    if found.sets.classes.multi_label:
        raise UsageError(
            "there is no curve where an image may have several labels",
            "give one train size, one init and one seed",
        )
    wanted = [(size, init, seed + draw) for size in sizes for draw in range(seeds) for init in inits]

    def by_training(wanted: Sequence[Wanted]) -> int:
        options: dict[str, Any] = {"target": target, "seed": seed, "cpu": cpu, "progress": progress}
        return trained(recipes, checkpoint, train, test, wanted, folder, **options)

    result = world.on_main(lambda: _drawn(found, folder, wanted, by_training, progress, fast=fast))
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
    wanted: Sequence[Wanted],
    by_training: Callable[[Sequence[Wanted]], int],
    progress: Progress,
    *,
    fast: bool,
) -> Curve:
    """Make the points that are missing, and sum up all of them, with those that were trained."""
    sets, started = found.sets, time.monotonic()
    head = found.head(progress)
    if head is None and any(init == "transfer" for _, init, _ in wanted):
        progress.warn("without rows that fit there is no line of init transfer")
        wanted = [(size, init, seed) for size, init, seed in wanted if init == "random"]
    made = by_training(wanted)
    wanted = wanted if fast else []
    missing = [each for each in wanted if read_point(point_path(folder, FAST, *each), progress) is None]
    with progress.task("probes", len(wanted), "probes", done=len(wanted) - len(missing)) as task:
        for size, init, seed in missing:
            begun = time.monotonic()
            _, scored = probe(sets, head, train_size=size, init=init, seed=seed)
            point = Point(
                init=init,
                train_size=str(size),
                seed=seed,
                train_images=scored.train_images,
                acc1=scored.acc1,
                acc5=scored.acc5,
                mean_per_class_recall=scored.mean_per_class_recall,
                regularisation=scored.choice.regularisation,
                prior_scale=scored.choice.prior_scale,
                solver_seconds=round(time.monotonic() - begun, 3),
            )
            files.write_json(point_path(folder, FAST, size, init, seed), point.model_dump(mode="json"))
            task.advance(acc1=scored.acc1)
    points = [KIND.read_json(path, Point) for path in sorted((folder / POINTS).glob("*.json"))]
    points.sort(key=lambda p: (p.protocol, p.train_images, p.train_size, p.init, p.seed))
    figures: dict[str, Any] = {}
    if head is not None:
        figures = answers(zero_shot(sets.train.values, prior_rows(head)), sets).figures(found.seed)
    result = Curve(
        **found.probed(time.monotonic() - started),
        protocol=found.fitted_by(PROTOCOL),
        folder=str(folder),
        by_train_size=scores(points),
        gains=gains(points),
        points=points,
        reused=len(points) - len(missing) - made,
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


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
