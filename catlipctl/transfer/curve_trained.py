"""Points of a curve that are trained: a run of its own for each, by a recipe of fine-tuning."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.data.sample import Selection
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import Progress
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.transfer.curve_points import Point
from catlipctl.transfer.finetuning import FinetuneResult, finetune
from catlipctl.transfer.labelled import TrainSize, labelled_sets
from catlipctl.transfer.probes.linear import Init

RUNS = "runs"
Wanted = tuple[TrainSize, Init, int]
"""Of a point: the seed is that of its subset."""


def trained(
    recipes: Mapping[str, FinetuneRecipe],
    checkpoint: Checkpoint,
    train: Source,
    test: Source | None,
    wanted: Sequence[Wanted],
    folder: Path,
    *,
    target: LabelSet | None,
    seed: int,
    cpu: bool,
    progress: Progress,
) -> list[Point]:
    """A point of each recipe, by its name, for each train size, init and seed; `seed` decides the split.

    A finished run in `folder` is read, an unfinished one goes on. A recipe whose classifier starts from fresh
    rows alone, as that of `--protocol mae`, is run for init `random`.
    """
    base = next((recipe.label_base for recipe in recipes.values()), None)
    sets = labelled_sets(train, test, target, seed, multi_label=False, label_base=base)
    parts = [Selection(part.source, part.indices.tolist()) for part in (sets.train, sets.test)]
    points = []
    for name, recipe in recipes.items():
        for size, init, draw in wanted:
            if recipe.classifier_norm and init == "transfer":
                continue
            progress.note(f"protocol {name}: {size}, init {init}, seed {draw}")
            begun = time.monotonic()
            changes = {"train_size": str(size), "init": init, "seed": draw, "loss": "cross_entropy"}
            found = finetune(
                recipe.model_copy(update=changes),
                checkpoint,
                *parts,
                target=target,
                out=folder / RUNS / f"{name}-{spelled(size)}-{init}-{draw}",
                resume=True,
                cpu=cpu,
                progress=progress,
            )
            assert isinstance(found, FinetuneResult)
            points.append(
                Point(
                    protocol=name,
                    init=init,
                    train_size=str(size),
                    seed=draw,
                    train_images=found.train_images,
                    acc1=found.acc1,
                    acc5=found.acc5,
                    mean_per_class_recall=found.mean_per_class_recall,
                    solver_seconds=round(time.monotonic() - begun, 3),
                )
            )
    return points


def spelled(size: TrainSize) -> str:
    """A train size in a file's name."""
    return re.sub(r"[^0-9a-z.]+", "-", str(size).replace("%", "-percent"))
