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
from catlipctl.data.sources import Streaming
from catlipctl.data.transform import TrainTransform
from catlipctl.errors import UsageError
from catlipctl.models.range_augment import RangeAugment
from catlipctl.objectives import OBJECTIVES, Clip, Context, Objective
from catlipctl.objectives.objective import Encode
from catlipctl.pretraining.validation import Validation, open_held_out
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result
from catlipctl.settings.pretraining import (
    FIXED_ON_RESUME,
    FREE_ON_RESUME,
    PretrainRecipe,
    VocabularySettings,
)
from catlipctl.training import Learner, Rules, Run
from catlipctl.training.directory import RunDirectory
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
        classes = settle_vocabulary(recipe, run, source, given)
        begun = run.start.step, run.start.samples
        schedule = planned(recipe, recipe.model.image_size, len(source), begun)
        assert schedule is not None, "the source is open, so its epochs have a length"
        for warning in recipe.warnings(len(schedule)):
            run.progress.warn(warning)
        encode = None if classes is None else vocabulary.Encoder(classes)
        objective = make_objective(recipe, outputs(recipe, classes), encode, len(schedule), run.world)
        learner = Learner(
            objective,
            recipe.optimiser,
            run.world,
            precision=run.world.precision(recipe.precision),
            **recipe.learner_options(len(schedule)),
        )
        loader = make_loader(recipe, source, objective, run.world.device)

        def parts(weights: Mapping[str, Tensor]) -> Mapping[str, Any]:
            config = {"objective": recipe.objective, "recipe": recipes.plain(recipe)}
            return {"config": config, "vocabulary": classes, **for_open_clip(objective, weights)}

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
            flops=forward_flops(recipe, outputs(recipe, classes)),
            after_step=None if validation is None else validation.where_due,
        )
        if validation is not None:
            validation.at_the_end()
        return run.on_main(lambda: summary(run, source, classes, state, schedule.samples(state.step)))


def check(recipe: PretrainRecipe, world: World) -> None:
    """Find what the recipe's schema cannot, before data is opened, which may take hours."""
    recipe.must_share_out(recipe.model.image_size, world.size)
    check_data_is_named(recipe)
    models.check(recipe.model, recipe.image_sizes(recipe.model.image_size))
    check_extractor(recipe)
    world.precision(recipe.precision)


def check_data_is_named(recipe: PretrainRecipe) -> None:
    """UsageError where no source stands in the recipe."""
    if not recipe.data.sources:
        raise UsageError("the recipe names no data", "add --data SOURCE")


def check_extractor(recipe: PretrainRecipe) -> None:
    """MachineError where this machine has not what the recipe's extractor needs."""
    if recipe.vocabulary.extractor:
        _ = labels.extractor(recipe.vocabulary.extractor).version


def given_vocabulary(recipe: PretrainRecipe, directory: RunDirectory | None) -> Vocabulary | None:
    """The run's own where an earlier start has settled it, else the recipe's file; None: to be counted.

    UsageError where both are there and differ in their classes. A file that is gone by then may be gone.
    """
    path, extractor = recipe.vocabulary.path, recipe.vocabulary.extractor
    own = None
    if directory is not None and directory.vocabulary.exists():
        own = vocabulary.load(directory.vocabulary)
    if path is None or (own is not None and not Path(path).exists()):
        return own
    given = vocabulary.load(Path(path))
    if extractor not in (None, given.extractor):
        raise UsageError(
            f"{path} was counted with {given.extractor}, and vocabulary.extractor is {extractor}",
            "leave out one of them: the vocabulary's extractor labels the captions",
        )
    if own is not None and (own.keys, own.extractor) != (given.keys, given.extractor):
        raise UsageError(
            f"{path} holds other classes than the run's vocabulary",
            "leave out --vocab (or add --set vocabulary.path=null), or start another run by --out",
        )
    return given if own is None else own


def open_source(recipe: PretrainRecipe, cache_dir: Path | None, progress: Progress) -> Source:
    """The recipe's pairs; what is learned of them on opening goes to the cache."""
    settings = recipe.data
    streaming = None
    if settings.window is not None:
        cache_bytes = int(settings.stream_cache_gib * 2**30)
        streaming = Streaming(settings.window, cache_bytes, local=settings.stream_local)
    return data.open_source(
        settings.sources,
        streaming=streaming,
        image_key=settings.image_key,
        caption_keys=settings.caption_keys,
        strict=settings.strict,
        cache_dir=cache_dir,
        progress=progress,
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

    def settle() -> Vocabulary:
        if not run.directory.vocabulary.exists():
            found = given or counted(settings, source, run.progress)
            found.save(run.directory.vocabulary)
            run.progress.note(f"vocabulary: {len(found):,} classes")
        return vocabulary.load(run.directory.vocabulary)

    # Not read by each: another node may see the file only later.
    return run.on_main(settle)


def counted(settings: VocabularySettings, source: Source, progress: Progress) -> Vocabulary:
    """The labels that the recipe keeps of the source's captions; TooFewLabels hints at its key."""
    try:
        return vocabulary.build(
            source,
            extractor=settings.extractor or "corenet",
            threshold=settings.threshold,
            max_size=settings.max_size,
            count=settings.count,
            progress=progress,
        )
    except vocabulary.TooFewLabels as error:
        error.hint = (
            "give more captions by --data, or a vocabulary of others by --vocab FILE"
            if error.enough is None
            else f"--set vocabulary.threshold={error.enough}"
        )
        raise


def outputs(recipe: PretrainRecipe, classes: Vocabulary | None) -> int:
    """Of the tower's head, as the objective wants it."""
    count = None if classes is None else len(classes)
    return OBJECTIVES[recipe.objective].head_size(recipe.clip, count)


def forward_flops(recipe: PretrainRecipe, outputs: int) -> dict[int, int]:
    """Operations of a pair's forward pass, by pixels a side. outputs: of the head."""
    counted = models.counts(recipe.model, outputs, recipe.image_sizes(recipe.model.image_size)).flops
    beside = OBJECTIVES[recipe.objective].flops_beside(recipe.clip)
    return {size: flops + beside for size, flops in counted.items()}


def make_objective(
    recipe: PretrainRecipe, outputs: int, encode: Encode | None, steps: int, world: World | None = None
) -> Objective:
    """The objective around a fresh tower, the same in all processes. world: None for one process alone."""
    torch.manual_seed(recipe.seed)
    augment = None
    if recipe.range_augment is not None:
        augment = RangeAugment(recipe.range_augment, steps, recipe.seed)
    context = Context(
        tower=models.create(recipe.model, outputs, recipe.image_sizes(recipe.model.image_size)),
        encode=encode,
        range_augment=augment,
        rank=world.rank if world else 0,
        world=world.size if world else 1,
        seed=recipe.seed,
    )
    return OBJECTIVES[recipe.objective].build(recipe.clip, context)


def make_loader(recipe: PretrainRecipe, source: Source, objective: Objective, device: torch.device) -> Loader:
    """The pairs in their order, cropped at random, with the objective's targets."""
    settings = recipe.data
    transform = TrainTransform(
        settings.augmentation,
        recipe.seed,
        interpolation=objective.tower.preprocessing.interpolation,
        decode=settings.decode,
    )
    order = make_order(recipe, source)
    return Loader(source, order, transform, objective.collate, settings.workers, device)


def make_order(recipe: PretrainRecipe, source: Source) -> Order | LocalOrder:
    """The order in which the run visits the pairs."""
    if recipe.data.window is None:
        return Order(len(source), recipe.seed)
    return LocalOrder(source.shard_sizes, recipe.seed, recipe.data.window)


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
