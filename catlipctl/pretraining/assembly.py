"""What a run is made of, by its recipe: pairs, their order and loader, the objective around its tower."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catlipctl import checkpoints, data, models, objectives, vocabulary
from catlipctl.data.batch import Shape
from catlipctl.data.loader import Loader
from catlipctl.data.order import CaptionOrder, LocalOrder, Order
from catlipctl.data.sample import Source
from catlipctl.data.sources import Streaming
from catlipctl.data.transform import TrainTransform
from catlipctl.errors import UsageError
from catlipctl.models.range_augment import RangeAugment
from catlipctl.objectives import Context, Contrastive, Objective
from catlipctl.objectives.captions import OneCaption
from catlipctl.objectives.objective import Encode
from catlipctl.progress import Progress
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.world import World
from catlipctl.vocabulary import Vocabulary

VisitingOrder = Order | LocalOrder | CaptionOrder


def open_source(recipe: PretrainRecipe, cache_dir: Path | None, progress: Progress) -> Source:
    """The recipe's pairs; what is learned of them on opening goes to the cache."""
    settings = recipe.data
    streaming = None
    if settings.window is not None:
        cache_bytes = int(settings.stream_cache_gib * 2**30)
        streaming = Streaming(settings.window, cache_bytes, local=settings.stream_local)
    return _opened(settings.sources, streaming, recipe, cache_dir, progress)


def open_held_out(recipe: PretrainRecipe, cache_dir: Path | None, progress: Progress) -> Source | None:
    """The recipe's held-out pairs; None where it has none."""
    if recipe.validation is None:
        return None
    return _opened(recipe.validation.sources, None, recipe, cache_dir, progress)


def _opened(
    sources: Sequence[str],
    streaming: Streaming | None,
    recipe: PretrainRecipe,
    cache_dir: Path | None,
    progress: Progress,
) -> Source:
    return data.open_source(
        sources,
        streaming=streaming,
        image_key=recipe.data.image_key,
        caption_keys=recipe.data.caption_keys,
        strict=recipe.data.strict,
        cache_dir=cache_dir,
        progress=progress,
    )


def outputs(recipe: PretrainRecipe, classes: Vocabulary | None) -> int:
    """Of the tower's head, as the objective wants it."""
    count = None if classes is None else len(classes)
    return objectives.find(recipe.objective).head_size(recipe.objective_settings, count)


def head_bias(recipe: PretrainRecipe, classes: Vocabulary | None) -> NDArray[np.float64] | None:
    """Where the classifier's bias starts, class by class, `[V]`; None where the recipe has a number.

    UsageError where the objective has no classes, or the vocabulary not all numbers.
    """
    asked = recipe.model.head_bias
    if not isinstance(asked, str):
        return None
    if classes is None:
        raise UsageError(
            f"model.head_bias={asked}: objective {recipe.objective} learns no vocabulary's classes",
            "--set model.head_bias=0",
        )
    return vocabulary.HEAD_BIASES[asked](classes)


def forward_flops(recipe: PretrainRecipe, outputs: int) -> dict[Shape, int]:
    """Operations of a pair's forward pass, by the image's shape. outputs: of the head."""
    counted = models.counts(recipe.model, outputs, recipe.image_sizes(recipe.model.image_size))
    beside = objectives.find(recipe.objective).flops_beside(
        recipe.objective_settings,
        counted.features,
        1 if recipe.one_caption else max(1, len(recipe.data.captions.weights)),
    )
    return {shape: flops + beside for shape, flops in counted.flops.items()}


def make_objective(
    recipe: PretrainRecipe,
    outputs: int,
    encode: Encode | None,
    steps: int,
    world: World | None = None,
    classes: Vocabulary | None = None,
) -> Objective:
    """The objective around a fresh tower, the same in all processes. world: None for one process alone.

    classes: where the classifier's bias starts from, if the recipe asks for it.
    """
    torch.manual_seed(recipe.seed)
    augment = None
    if recipe.range_augment is not None:
        augment = RangeAugment(recipe.range_augment, steps, recipe.seed)
    tower = models.create(recipe.model, outputs, recipe.image_sizes(recipe.model.image_size))
    bias = None if classes is None else head_bias(recipe, classes)
    if bias is not None:
        models.start_bias(tower, bias)
    weights = tuple(recipe.data.captions.weights)
    context = Context(
        tower=tower,
        encode=encode,
        range_augment=augment,
        token_drop=models.add_token_drop(tower, recipe.seed) if recipe.model.token_drop else None,
        captions=() if recipe.one_caption else weights,
        rank=world.rank if world else 0,
        world=world.size if world else 1,
        seed=recipe.seed,
    )
    objective = objectives.find(recipe.objective).build(recipe.objective_settings, context)
    if recipe.one_caption:
        objective.collate = OneCaption(objective.collate, recipe.seed, weights)
    return objective


def make_loader(
    recipe: PretrainRecipe,
    source: Source,
    order: VisitingOrder,
    objective: Objective,
    device: torch.device,
) -> Loader:
    """The pairs in their order, cropped at random, with the objective's targets."""
    settings = recipe.data
    transform = TrainTransform(
        settings.augmentation,
        recipe.seed,
        interpolation=objective.tower.preprocessing.interpolation,
        decode=settings.decode,
    )
    return Loader(source, order, transform, objective.collate, settings.workers, device)


def make_order(recipe: PretrainRecipe, source: Source) -> VisitingOrder:
    """The order in which the run visits the pairs; an epoch of captions reads them all."""
    if recipe.data.epoch_of == "captions":
        return CaptionOrder(source.captions(), recipe.seed)
    if recipe.data.window is None:
        return Order(len(source), recipe.seed)
    return LocalOrder(source.shard_sizes, recipe.seed, recipe.data.window)


def beside(objective: Objective, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a checkpoint says of the head's outputs; of a text tower what open_clip opens, where it can."""
    found = {"problem_type": checkpoints.SINGLE_LABEL} if objective.exclusive else {}
    if not isinstance(objective, Contrastive):
        return found
    try:
        config, tensors = checkpoints.open_clip_files(objective, weights)
    except UsageError:
        return found
    files = {checkpoints.OPEN_CLIP_CONFIG: json.dumps(config, indent=2) + "\n"}
    return {**found, "files": files, "tensors": {checkpoints.OPEN_CLIP_WEIGHTS: tensors}}
