"""Points of a curve that are trained: a run of its own for each, by a recipe of fine-tuning."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from catlipctl import files
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.data.sample import Selection
from catlipctl.errors import UsageError
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import Progress
from catlipctl.recipe import plain
from catlipctl.settings.finetuning import FREE_ON_RESUME, FinetuneRecipe
from catlipctl.transfer.curve_points import Point, Wanted, point_path, read_point
from catlipctl.transfer.finetuning import FinetuneResult, finetune
from catlipctl.transfer.labelled import labelled_sets

RUNS = "runs"


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
) -> int:
    """Make a point of each recipe, by its name, for each train size, init and seed; how many were made.

    seed: decides the split. A finished point in `folder` stays, an unfinished run goes on. UsageError where
    a point was made by another recipe. A recipe whose classifier starts from fresh rows alone, as that of
    `--protocol mae`, is run for init `random`.
    """
    base = next((recipe.label_base for recipe in recipes.values()), None)
    sets = labelled_sets(train, test, target, seed, multi_label=False, label_base=base)
    parts = [Selection(part.source, part.indices.tolist()) for part in (sets.train, sets.test)]
    made = 0
    for name, recipe in recipes.items():
        for size, init, draw in wanted:
            if recipe.classifier_norm and init == "transfer":
                continue
            path = point_path(folder, name, size, init, draw)
            changes = {"train_size": str(size), "init": init, "seed": draw, "loss": "cross_entropy"}
            own = recipe.model_copy(update=changes)
            decides = {key: value for key, value in plain(own).items() if key not in FREE_ON_RESUME}
            if (there := read_point(path, progress)) is not None:
                if there.recipe != decides:
                    raise UsageError(f"{path} was made by another recipe", "name another folder with --out")
                continue
            progress.note(f"protocol {name}: {size}, init {init}, seed {draw}")
            begun = time.monotonic()
            found = finetune(
                own,
                checkpoint,
                *parts,
                target=target,
                out=folder / RUNS / path.stem,
                resume=True,
                cpu=cpu,
                progress=progress,
            )
            assert isinstance(found, FinetuneResult)
            point = Point(
                protocol=name,
                init=init,
                train_size=str(size),
                seed=draw,
                train_images=found.train_images,
                acc1=found.acc1,
                acc5=found.acc5,
                mean_per_class_recall=found.mean_per_class_recall,
                recipe=decides,
                solver_seconds=round(time.monotonic() - begun, 3),
            )
            files.write_json(path, point.model_dump(mode="json"))
            made += 1
    return made
