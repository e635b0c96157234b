"""Made-up batches: what a step costs doesn't depend on what the pictures show.

It does depend on how many labels an image has and on how long the text tower's input is: both are as in
real data.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from catlipctl.bench.settings import Comparison
from catlipctl.data.batch import Batch

LABELS_AN_IMAGE = 5
"""Nouns of a web caption, about."""
WORDS = 12
"""Tokens of a web caption, about. open_clip's text tower reads the whole context whatever their number."""


def image_label_batch(comparison: Comparison, image_size: int, rank: int = 0) -> Batch:
    """Normal noise with about five labels an image, drawn by Zipf's law: class k as often as 1 / (k + 1)."""
    size = comparison.batch_size
    random = np.random.default_rng([comparison.seed, rank])
    frequency = 1 / np.arange(1, comparison.classes + 1)
    drawn = random.choice(comparison.classes, (size, LABELS_AN_IMAGE), p=frequency / frequency.sum())
    rows, classes = np.unique(np.stack([np.arange(size).repeat(LABELS_AN_IMAGE), drawn.ravel()]), axis=1)
    return Batch(
        images=torch.from_numpy(random.standard_normal((size, 3, image_size, image_size), dtype=np.float32)),
        rows=torch.from_numpy(rows),
        classes=torch.from_numpy(classes),
        position=0,
        samples=torch.arange(size),
    )


def token_batch(comparison: Comparison, text: dict[str, Any], rank: int = 0) -> Tensor:
    """`[B, context]`, int64: start, random words, end, padding, as open_clip's tokeniser lays them out."""
    vocabulary, context = int(text.get("vocab_size", 49_408)), int(text.get("context_length", 77))
    size = comparison.batch_size
    random = np.random.default_rng([comparison.seed, rank, 1])
    lengths = np.clip(random.poisson(WORDS, size), 1, context - 2)
    tokens = random.integers(1, vocabulary - 2, (size, context))
    place = np.arange(context)
    tokens[:, 0] = vocabulary - 2
    tokens[place > lengths[:, None] + 1] = 0
    tokens[np.arange(size), lengths + 1] = vocabulary - 1
    return torch.from_numpy(tokens)
