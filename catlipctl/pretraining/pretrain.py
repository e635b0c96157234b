"""`pretrain`: from a recipe to a run's directory with its checkpoints. `pretrain` is the story of a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catlipctl import checkpoints, data, labels, models, training, vocabulary
from catlipctl import recipe as recipes
from catlipctl.data.loader import Loader
from catlipctl.data.order import LocalOrder, Order
from catlipctl.data.sample import Source
from catlipctl.data.transform import TrainTransform
from catlipctl.errors import UsageError
from catlipctl.models.range_augment import RangeAugment
from catlipctl.objectives import OBJECTIVES, Clip, Context, Objective
from catlipctl.pretraining.recipe import FREE_ON_RESUME, PretrainRecipe
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result
from catlipctl.training import Learner, Run
from catlipctl.training.report import RunState, read_metrics
from catlipctl.vocabulary import Vocabulary


class PretrainResult(Result):
    """A complete run. Losses are means over the first and the last twentieth of the logged steps."""

    run: str
    checkpoint: str
    steps: int
    samples: int
    seconds: float
    images_per_second: float
    first_loss: float
    final_loss: float
    vocabulary_size: int | None
    """None where the objective has no vocabulary."""
    faults: dict[str, int]
    """What was passed over when the source was opened, by kind: damaged shards, images without caption."""
    replaced: int
    """How often an image could not be read, and the next one took its place."""
    unlabelled_share: float | None
    """Share of the images seen whose captions gave no label: trained on, as showing none of the classes."""


def pretrain(
    recipe: PretrainRecipe,
    *,
    out: Path | None = None,
    name: str = "pretrain",
    resume: bool = False,
    cpu: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> PretrainResult:
    """Train by the recipe into `out` (default: a new `runs/NAME`), alone or as one of several processes.

    `resume` goes on with the run in `out`, starts it where there is none, and returns at once where it is
    complete.
    Raises UsageError (directory in use or not empty, recipe changed on resume), DataError (data changed on
    resume), NonFiniteLoss, OutOfMemory, and Stopped, after a save, at a signal.
    """
    with training.begin("pretrain", out, name, resume=resume, cpu=cpu, progress=progress) as run:
        run.on_main(lambda: run.directory.settle_recipe(recipe, resume=resume, free=FREE_ON_RESUME))
        run.progress.note(f"run: {run.directory.path}")
        check(recipe, run)
        given = run.on_main(lambda: given_vocabulary(recipe, run))
        source = open_source(recipe, run, cache_dir)
        classes = settle_vocabulary(recipe, run, source, given)
        schedule = recipe.steps(recipe.model.image_size, len(source))
        assert schedule is not None, "the source is open, so its epochs have a length"
        for warning in recipe.warnings(len(schedule)):
            run.progress.warn(warning)
        objective = make_objective(recipe, run, classes, len(schedule))
        learner = Learner(
            objective,
            recipe.optimiser,
            run.world,
            precision=run.world.precision(recipe.precision),
            **recipe.learner_options(len(schedule)),
        )
        loader = make_loader(recipe, run, source, objective)

        def parts(weights: Mapping[str, Tensor]) -> Mapping[str, Any]:
            config = {"objective": recipe.objective, "recipe": recipes.plain(recipe)}
            return {"config": config, "vocabulary": classes, **for_open_clip(objective, weights)}

        state = training.fit(run, recipe, learner, schedule, loader, parts, resume=resume)
        return run.on_main(lambda: summary(run, source, classes, state, schedule.samples(state.step)))


def check(recipe: PretrainRecipe, run: Run) -> None:
    """Find what the recipe's schema cannot, before data is opened, which may take hours."""
    recipe.must_share_out(recipe.model.image_size, run.world.size)
    if not recipe.data.sources:
        raise UsageError("the recipe names no data", "add --data SOURCE")
    models.check(recipe.model, recipe.image_sizes(recipe.model.image_size))
    if recipe.vocabulary.extractor:
        # Asked for what it needs of this machine.
        _ = labels.extractor(recipe.vocabulary.extractor).version
    run.world.precision(recipe.precision)


def given_vocabulary(recipe: PretrainRecipe, run: Run) -> Vocabulary | None:
    """The recipe's file, unless an earlier start of the run has taken it over or none is given."""
    path = recipe.vocabulary.path
    if path is None or run.directory.vocabulary.exists():
        return None
    given, extractor = vocabulary.load(Path(path)), recipe.vocabulary.extractor
    if extractor not in (None, given.extractor):
        raise UsageError(
            f"{path} was counted with {given.extractor}, and vocabulary.extractor is {extractor}",
            "leave out one of them: the vocabulary's extractor labels the captions",
        )
    return given


def open_source(recipe: PretrainRecipe, run: Run, cache_dir: Path | None) -> Source:
    """The recipe's pairs, opened by the first process before the others: caches fill once."""
    settings = recipe.data
    return run.world.main_first(
        lambda: data.open_source(
            settings.sources,
            image_key=settings.image_key,
            caption_keys=settings.caption_keys,
            strict=settings.strict,
            cache_dir=cache_dir,
            progress=run.progress,
        )
    )


def settle_vocabulary(
    recipe: PretrainRecipe, run: Run, source: Source, given: Vocabulary | None
) -> Vocabulary | None:
    """The run's vocabulary: from an earlier start of the run, the one given, or counted now.

    None where the objective learns no classes.
    """
    if not OBJECTIVES[recipe.objective].needs_classes:
        return None
    settings = recipe.vocabulary

    def settle() -> None:
        if run.directory.vocabulary.exists():
            return
        found = given or vocabulary.build(
            source,
            extractor=settings.extractor or "corenet",
            threshold=settings.threshold,
            max_size=settings.max_size,
            count=settings.count,
            progress=run.progress,
        )
        found.save(run.directory.vocabulary)
        run.progress.note(f"vocabulary: {len(found):,} classes")

    run.on_main(settle)
    return vocabulary.load(run.directory.vocabulary)


def make_objective(recipe: PretrainRecipe, run: Run, classes: Vocabulary | None, steps: int) -> Objective:
    """The objective around a fresh tower, the same in all processes."""
    kind = OBJECTIVES[recipe.objective]
    outputs = kind.head_size(recipe.clip, None if classes is None else len(classes))
    torch.manual_seed(recipe.seed)
    augment = None
    if recipe.range_augment is not None:
        augment = RangeAugment(recipe.range_augment, steps, recipe.seed)
    context = Context(
        tower=models.create(recipe.model, outputs, recipe.image_sizes(recipe.model.image_size)),
        encode=None if classes is None else vocabulary.Encoder(classes),
        range_augment=augment,
        rank=run.world.rank,
        world=run.world.size,
        seed=recipe.seed,
    )
    return kind.build(recipe.clip, context)


def make_loader(recipe: PretrainRecipe, run: Run, source: Source, objective: Objective) -> Loader:
    """The pairs in their order, cropped at random, with the objective's targets."""
    settings, window = recipe.data, recipe.data.window
    order = (
        Order(len(source), recipe.seed)
        if window is None
        else LocalOrder(source.shard_sizes, recipe.seed, window)
    )
    transform = TrainTransform(
        settings.augmentation,
        recipe.seed,
        interpolation=objective.tower.preprocessing.interpolation,
        decode=settings.decode,
    )
    return Loader(source, order, transform, objective.collate, settings.workers, run.world.device)


def for_open_clip(objective: Objective, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a checkpoint with a text tower has beside, for open_clip; nothing where it can't make it."""
    if not isinstance(objective, Clip):
        return {}
    try:
        config, tensors = checkpoints.open_clip_files(objective, weights)
    except UsageError:
        return {}
    files = {checkpoints.OPEN_CLIP_CONFIG: json.dumps(config, indent=2) + "\n"}
    return {"files": files, "tensors": {checkpoints.OPEN_CLIP_WEIGHTS: tensors}}


def summary(
    run: Run, source: Source, classes: Vocabulary | None, state: RunState, samples: int
) -> PretrainResult:
    """What is told of a complete run."""
    losses = [row["loss"] for row in read_metrics(run.directory.metrics)]
    few = max(1, len(losses) // 20)
    seconds, unlabelled = state.totals["seconds"], state.totals.get("unlabelled")
    return PretrainResult(
        inputs={"data": source.name},
        run=str(run.directory.path),
        checkpoint=str(checkpoints.latest(run.directory.path)),
        steps=state.step,
        samples=samples,
        seconds=round(seconds, 3),
        images_per_second=round(samples / max(seconds, 1e-9), 2),
        first_loss=sum(losses[:few]) / few,
        final_loss=sum(losses[-few:]) / few,
        vocabulary_size=None if classes is None else len(classes),
        faults=dict(source.faults),
        replaced=int(state.totals["replaced"]),
        unlabelled_share=None if unlabelled is None else unlabelled / samples,
    )
