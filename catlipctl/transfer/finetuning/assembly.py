"""What a fine-tuning run learns, and what from: the tower with its classifier, the objective around it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from catlipctl.data.sample import Sample
from catlipctl.errors import UsageError
from catlipctl.models import RangeAugment, TimmTower, Tower, resized
from catlipctl.objectives import Catlip, Context, Objective
from catlipctl.objectives.classification import Classification, NormedClassification
from catlipctl.objectives.objective import Encode
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.transfer.classifier import freeze, with_head
from catlipctl.transfer.initialise import TransferredHead


@dataclass(frozen=True)
class ClassEncoder:
    """A sample's class ids, by its labels."""

    ids: Mapping[str, int]

    def __call__(self, sample: Sample) -> list[int]:
        return sorted({self.ids[name] for name in sample.labels or ()})


def check_images_are_named(recipe: FinetuneRecipe) -> None:
    """UsageError where there is nothing to train on."""
    if not recipe.sources:
        raise UsageError("no labelled images are named", "name them: --data SOURCE")


def base_size(recipe: FinetuneRecipe, tower: Tower) -> int:
    """Pixels a side of the tower that the run makes of a checkpoint's."""
    return recipe.image_size or tower.preprocessing.size


def make_tower(
    recipe: FinetuneRecipe, tower: Tower, classes: int, prior: TransferredHead | None = None
) -> Tower:
    """A checkpoint's tower at the run's sizes with a classifier: a prior's rows, or fresh ones by the seed.

    UsageError for sizes that it does not take, and for another than a linear head where that alone learns.
    """
    base = base_size(recipe, tower)
    tower = resized(tower, base, recipe.image_sizes(base), crop_pct=recipe.crop_pct)
    torch.manual_seed(recipe.seed)
    if prior is not None:
        made: Tower = with_head(tower, prior.weight, prior.bias)
    else:
        module: Any = copy.deepcopy(tower.module)
        module.reset_classifier(classes)
        made = TimmTower(module)
    if recipe.learns == "classifier":
        freeze(made)
    return made


def make_objective(
    recipe: FinetuneRecipe,
    tower: Tower,
    encode: Encode,
    steps: int,
    *,
    multi_label: bool,
    rank: int = 0,
    world: int = 1,
) -> Objective:
    """The tower under the data's loss. steps: of the run."""
    augment = None
    if recipe.range_augment is not None:
        augment = RangeAugment(recipe.range_augment, steps, recipe.seed)
    context = Context(tower=tower, encode=encode, range_augment=augment, rank=rank, world=world)
    if multi_label and recipe.classifier_norm:
        raise UsageError(
            "classifier_norm is for classes that exclude each other",
            "give --exclusive, or take --protocol fast or paper",
        )
    if multi_label:
        return Catlip.build(None, context)
    kind = NormedClassification if recipe.classifier_norm else Classification
    return kind.build(recipe.classification, context)
