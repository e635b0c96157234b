"""`runs replay`: the steps that ended a pre-training run, taken again by one process on its own data."""

from pathlib import Path

import torch

from catlipctl import checkpoints, vocabulary
from catlipctl import recipe as recipes
from catlipctl.errors import UsageError
from catlipctl.pretraining.assembly import make_loader, make_objective, make_order, open_source, outputs
from catlipctl.pretraining.classes import given_vocabulary
from catlipctl.progress import SILENT, Progress
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import Learner, capture
from catlipctl.training.directory import RunDirectory
from catlipctl.training.replay import Replay, replayed
from catlipctl.training.resuming import is_of
from catlipctl.training.saved import Saved
from catlipctl.training.saving import put_into
from catlipctl.training.world import World


def replay(
    run: Path, *, cpu: bool = False, cache_dir: Path | None = None, progress: Progress = SILENT
) -> Replay:
    """Take the steps of the run's capture again, from the weights that they had; nothing is written.

    CheckpointError where the run has no capture, or its checkpoint is gone; UsageError for a run that is no
    pre-training; DataError where the data is another.
    """
    found = capture.read(run)
    directory = RunDirectory(run)
    if not is_of(PretrainRecipe, directory):
        raise UsageError(f"{run} is no run of pretrain", "its capture.json names the samples to look at")
    recipe = recipes.load(PretrainRecipe, directory.recipe, environment={}).value
    world = World(cpu=cpu)
    source = open_source(recipe, cache_dir, progress)
    classes = given_vocabulary(recipe, directory)
    encode = None if classes is None else vocabulary.Encoder(classes)
    objective = make_objective(recipe, outputs(recipe, classes), encode, found.length, classes=classes)
    # Compiled it would be the same, minutes later.
    options = {**recipe.learner_options(found.length), "compile": False}
    precision = getattr(torch, found.precision)
    learner = Learner(objective, recipe.optimiser, world, precision=precision, **options)
    put_into(learner, run / found.checkpoint, *checkpoints.read_state(run / found.checkpoint, Saved))
    progress.note(f"replaying {len(found.steps)} steps from {run / found.checkpoint}")
    loader = make_loader(recipe, source, make_order(recipe, source), objective, world.device)
    steps = replayed(learner, loader, found)
    return Replay(
        inputs={"run": str(run), "data": source.name},
        run=str(run),
        checkpoint=str(run / found.checkpoint),
        processes=found.processes,
        device=world.device.type,
        precision=found.precision,
        shown=any(None in (step.loss, step.grad_norm) for step in steps),
        steps=steps,
    )
