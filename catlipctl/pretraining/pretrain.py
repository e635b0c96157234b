"""`pretrain`: from a recipe to a run's directory with its checkpoints. `pretrain` is the story of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from catlipctl import checkpoints, labels, models, objectives, training, vocabulary
from catlipctl import recipe as recipes
from catlipctl.data.sample import Source
from catlipctl.errors import UsageError
from catlipctl.pretraining.assembly import (
    beside,
    forward_flops,
    head_bias,
    make_loader,
    make_objective,
    make_order,
    open_held_out,
    open_source,
    outputs,
)
from catlipctl.pretraining.classes import given_vocabulary, settle_vocabulary
from catlipctl.pretraining.validation import Validation
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result
from catlipctl.settings.pretraining import (
    FIXED_ON_RESUME,
    FREE_ON_RESUME,
    PretrainRecipe,
)
from catlipctl.training import Learner, Rules, Run
from catlipctl.training.report import Row, RunState, first_and_final_loss, read_metrics
from catlipctl.training.steps import planned
from catlipctl.training.world import World
from catlipctl.vocabulary import Vocabulary

RULES = Rules(free=FREE_ON_RESUME, fixed=FIXED_ON_RESUME)
"""What may change while a run goes on, and what may not."""


class PretrainResult(Result):
    """A complete run. Losses are those of the first and the last row of `metrics.jsonl`."""

    run: str
    checkpoint: str
    steps: int
    samples: int
    seconds: float
    images_per_second: float
    first_loss: float | None
    final_loss: float | None
    vocabulary_size: int | None
    """None where the objective has no vocabulary."""
    faults: dict[str, int]
    """What was passed over when the source was opened, by kind: damaged shards, images without caption."""
    replaced: int
    """How often an image could not be read, and the next one took its place."""
    skipped: int
    """Steps whose loss or gradient was not finite: they changed nothing."""
    unlabelled_share: float | None
    """Share of the images seen whose captions gave no label: trained on, as showing none of the classes."""
    validation: dict[str, Any] | None = None
    """The last row of `evaluations.jsonl`: what the weights are worth on held-out pairs, if there are any."""


def pretrain(
    recipe: PretrainRecipe,
    *,
    out: Path | None = None,
    name: str = "pretrain",
    resume: bool = False,
    allow_changes: bool = False,
    cpu: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> PretrainResult:
    """Train by the recipe into `out` (default: a new `runs/NAME`), alone or as one of several processes.

    `resume` goes on with the run in `out`, starts it where there is none, and returns at once where it is
    complete. allow_changes: on under another recipe, which becomes the run's, but for what `RULES` fixes.
    Raises UsageError (directory in use or not empty, recipe changed on resume), DataError (data changed on
    resume), NonFiniteLoss, OutOfMemory, and Stopped, after a save, at a signal.
    """
    with training.begin(
        "pretrain",
        recipe,
        RULES,
        out,
        name,
        resume=resume,
        allow_changes=allow_changes,
        cpu=cpu,
        progress=progress,
    ) as run:
        check(recipe, run.world)
        given = run.on_main(lambda: given_vocabulary(recipe, run.directory))
        source = run.world.node_first(lambda: open_source(recipe, cache_dir, run.progress))
        held_out = run.world.node_first(lambda: open_held_out(recipe, cache_dir, run.progress))
        classes = settle_vocabulary(recipe, run, source, given, cache_dir)
        begun = run.start.step, run.start.samples
        order = make_order(recipe, source)
        schedule = planned(recipe, recipe.model.image_size, order.samples, begun)
        assert schedule is not None, "the source is open, so its epochs have a length"
        for warning in recipe.warnings(len(schedule)):
            run.progress.warn(warning)
        encode = None if classes is None else vocabulary.Encoder(classes)
        objective = make_objective(
            recipe, outputs(recipe, classes), encode, len(schedule), run.world, classes
        )
        learner = Learner(
            objective,
            recipe.optimiser,
            run.world,
            precision=run.world.precision(recipe.precision),
            **recipe.learner_options(len(schedule)),
        )
        loader = make_loader(recipe, source, order, objective, run.world.device)

        def parts(weights: Mapping[str, Tensor]) -> Mapping[str, Any]:
            config = {"objective": recipe.objective, "recipe": recipes.plain(recipe)}
            return {"config": config, "vocabulary": classes, **beside(objective, weights)}

        validation = None
        if recipe.validation is not None and held_out is not None:
            workers = recipe.data.workers
            validation = Validation(recipe.validation, held_out, run, learner, schedule, workers)
        state = training.fit(
            run,
            recipe,
            learner,
            schedule,
            loader,
            parts,
            # Counted where rows are written: it takes a fifth of a second a size.
            flops=forward_flops(recipe, outputs(recipe, classes)) if run.world.is_main else {},
            after_step=None if validation is None else validation.where_due,
        )
        if validation is not None:
            validation.at_the_end()
        return run.on_main(lambda: summary(run, source, classes, state, schedule.samples(state.step)))


def check(recipe: PretrainRecipe, world: World) -> None:
    """Find what the recipe's schema cannot, before data is opened, which may take hours."""
    recipe.must_share_out(recipe.model.image_size, world.size)
    objectives.find(recipe.objective)
    check_data_is_named(recipe)
    models.check(recipe.model, recipe.image_sizes(recipe.model.image_size))
    check_extractor(recipe)
    if not objectives.find(recipe.objective).needs_classes:
        head_bias(recipe, None)
    world.precision(recipe.precision)


def check_data_is_named(recipe: PretrainRecipe) -> None:
    """UsageError where no source stands in the recipe."""
    if not recipe.data.sources:
        raise UsageError("the recipe names no data", "add --data SOURCE")


def check_extractor(recipe: PretrainRecipe) -> None:
    """MachineError where this machine has not what the recipe's extractor needs."""
    if recipe.vocabulary.extractor:
        _ = labels.extractor(recipe.vocabulary.extractor).version


def summary(
    run: Run, source: Source, classes: Vocabulary | None, state: RunState, samples: int
) -> PretrainResult:
    """What is told of a complete run."""
    first_loss, final_loss = first_and_final_loss(run.directory.metrics)
    seconds, unlabelled = state.totals["seconds"], state.totals.get("unlabelled")
    return PretrainResult(
        inputs={"data": source.name},
        run=str(run.directory.path),
        checkpoint=str(checkpoints.latest(run.directory.path)),
        steps=state.step,
        samples=samples,
        seconds=round(seconds, 3),
        images_per_second=round(samples / max(seconds, 1e-9), 2),
        first_loss=first_loss,
        final_loss=final_loss,
        vocabulary_size=None if classes is None else len(classes),
        faults=dict(source.faults),
        replaced=int(state.totals["replaced"]),
        skipped=int(state.totals.get("skipped", 0)),
        unlabelled_share=None if unlabelled is None else unlabelled / samples,
        validation=next(reversed(read_metrics(run.directory.evaluations, Row)), None),
    )
