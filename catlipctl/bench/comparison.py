"""What all sides of `bench step` have in common: the case, and a made-up batch.

What a step costs doesn't depend on what the pictures show. It does depend on how many labels an image has and
on how long the text tower's input is: both are as in real data.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from catlipctl.bench import configuration as configurations
from catlipctl.data.batch import Batch, Step
from catlipctl.labels import SUBWORDS
from catlipctl.objectives import find
from catlipctl.settings.models import VOCABULARY_SIZE, TextSettings
from catlipctl.settings.training import OptimiserSettings, Precision
from catlipctl.training.world import World

CLASSES = 24_320
"""The paper's vocabulary of DataComp at threshold 500 (CatLIP 3.2)."""
LABELS_AN_IMAGE = 5
"""Nouns of a web caption, about."""
WORDS = 12
"""Tokens of a web caption, about. open_clip's text tower reads the whole context whatever their number."""
OPTIMISER = OptimiserSettings(lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, clip_norm=1.0)
"""open_clip's defaults for a ViT, and the norm to which both papers' recipes clip; on all sides."""
MOMENTUM = 5e-4
"""Of the average where there is one (CatLIP Table 6)."""


class Entry(BaseModel):
    """One side of a comparison. name: what tables call it.

    kind: `ours` is our learner with the objective; `plain` a step as timm or open_clip write it. context:
    tokens that its text tower reads of a caption; None where it has no text tower.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    objective: str
    kind: Literal["ours", "plain"] = "ours"
    context: int | None = None


class Comparison(BaseModel):
    """What all sides have in common.

    model: an open_clip configuration, by name or as a JSON file of the same form. image_size: pixels a side,
    None for its own. batch_size: images of each process. classes: of label objectives; None for each one's
    own. compile: the towers of ours. activation_checkpointing, ema: on ours.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    batch_size: int
    classes: int | None = None
    seed: int = 0
    image_size: int | None = None
    precision: Precision = "auto"
    compile: bool = False
    activation_checkpointing: bool = False
    ema: bool = False

    def configuration(self, context: int | None = None) -> configurations.Configuration:
        """The configuration at the case's image size, its text tower with so many tokens."""
        found = configurations.find(self.model)
        return configurations.changed(found, image_size=self.image_size, context=context)

    def classes_of(self, objective: str) -> int:
        """That the objective learns where it learns any."""
        return self.classes or (VOCABULARY_SIZE if of_sub_words(objective) else CLASSES)


def of_sub_words(objective: str) -> bool:
    """Does it learn a caption's sub-words, of which all are classes (SuperClass 3.2)?"""
    return find(objective).extractor in SUBWORDS


def made_up_batch(
    comparison: Comparison, world: World, objective: str = "catlip", context: int | None = None
) -> Batch:
    """This process's images, noise in uint8, with what an objective learns of them; on the CPU."""
    configuration = comparison.configuration(context)
    rows, pixels = comparison.batch_size, configurations.image_size(configuration)
    random = np.random.default_rng([comparison.seed, world.rank])
    images = random.integers(0, 256, (rows, 3, pixels, pixels), dtype=np.uint8)
    labels = WORDS if of_sub_words(objective) else LABELS_AN_IMAGE
    classes, counts = zipf_labels(random, rows, comparison.classes_of(objective), labels)
    samples = torch.arange(rows) + world.rank * rows
    return Batch(
        step=Step(index=0, size=pixels, rows=rows * world.size, start=0),
        images=torch.from_numpy(images),
        targets={
            "classes": classes,
            "counts": counts,
            "tokens": random_tokens(random, rows, configurations.text_settings(configuration)),
        },
        positions=samples,
        samples=samples,
        counted=rows,
    )


def zipf_labels(
    random: np.random.Generator, rows: int, classes: int, labels: int = LABELS_AN_IMAGE
) -> tuple[Tensor, Tensor]:
    """About so many class ids an image, class k as often as 1 / (k + 1); and how many each image has."""
    frequency = 1 / np.arange(1, classes + 1)
    drawn = random.choice(classes, (rows, labels), p=frequency / frequency.sum())
    own = [np.unique(row) for row in drawn]
    return torch.from_numpy(np.concatenate(own)), torch.tensor([len(row) for row in own])


def random_tokens(random: np.random.Generator, rows: int, text: TextSettings) -> Tensor:
    """`[rows, context]`, int64: start, random words, end, padding, as open_clip's tokeniser lays them out."""
    lengths = np.clip(random.poisson(WORDS, rows), 1, text.context_length - 2)
    tokens = random.integers(1, text.vocab_size - 2, (rows, text.context_length))
    place = np.arange(text.context_length)
    tokens[:, 0] = text.vocab_size - 2
    tokens[place > lengths[:, None] + 1] = 0
    tokens[np.arange(rows), lengths + 1] = text.vocab_size - 1
    return torch.from_numpy(tokens)
