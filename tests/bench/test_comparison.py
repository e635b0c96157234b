"""The made-up batch: labels and captions as in real data, of each objective's own shapes."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from catlipctl.bench.comparison import CLASSES, Comparison, made_up_batch, random_tokens, zipf_labels
from catlipctl.settings.models import TextSettings
from catlipctl.training.world import World


def test_labels_are_few_and_by_zipfs_law() -> None:
    classes, counts = zipf_labels(np.random.default_rng(1), 2000, CLASSES)
    rows = torch.arange(2000).repeat_interleave(counts)
    pairs = set(zip(rows.tolist(), classes.tolist(), strict=True))
    assert len(pairs) == len(classes)
    assert 4 < len(pairs) / 2000 <= 5
    # Drawn five times without repeats, class 0 of probability p is in 1 - (1 - p)^5 of the images.
    p = 1 / (1 / np.arange(1, CLASSES + 1)).sum()
    assert (classes == 0).sum().item() / 2000 == pytest.approx(1 - (1 - p) ** 5, abs=0.05)


def test_captions_end_as_open_clips_tokeniser_ends_them() -> None:
    tokens = random_tokens(np.random.default_rng(0), 64, TextSettings())
    real = open_clip.SimpleTokenizer()(["two dogs on a beach"])
    assert tokens.shape == (64, real.shape[1])
    assert tokens.dtype == real.dtype
    assert (tokens[:, 0] == real[0, 0]).all()
    ends = tokens.argmax(dim=1)
    assert (tokens.amax(dim=1) == real.max()).all()
    assert all(
        (row[end + 1 :] == 0).all() and (row[:end] > 0).all() for row, end in zip(tokens, ends, strict=True)
    )


def test_size_and_context_are_the_cases_and_sub_words_are_more_than_nouns(tiny: Path) -> None:
    case = Comparison(model=str(tiny), batch_size=3, image_size=32)
    world = World(cpu=True)
    batch = made_up_batch(case, world, "clip", 32)
    assert batch.images.shape == (3, 3, 32, 32)
    assert batch.targets["tokens"].shape == (3, 32)
    assert made_up_batch(case, world, "clip", None).targets["tokens"].shape == (3, 77)
    assert torch.equal(made_up_batch(case, world).images, batch.images)
    # As many as open_clip's tokeniser knows; a number that is asked for holds for all.
    assert (case.classes_of("catlip"), case.classes_of("superclass")) == (24_320, 49_408)
    assert case.model_copy(update={"classes": 7}).classes_of("superclass") == 7
    nouns, words = (made_up_batch(case, world, name).targets["counts"] for name in ("catlip", "superclass"))
    assert nouns.sum() <= 15 < words.sum() <= 36
