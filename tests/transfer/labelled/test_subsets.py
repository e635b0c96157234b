"""Subsets and folds: stratified, nested, and decided by the seed alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.errors import UsageError
from catlipctl.transfer.labelled import TrainSize, folds, held_out, subset

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(torch.tensor)


@pytest.mark.parametrize("text", ["5", "0/class", "0%", "101%", "five/class", "5/klass", "-1%", ""])
def test_train_sizes_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="train size"):
        TrainSize.parse(text)


@given(LABELS, st.integers(1, 9), st.integers(0, 99))
def test_so_many_a_class_and_smaller_ones_inside_larger(labels: torch.Tensor, count: int, seed: int) -> None:
    taken = subset(labels, TrainSize.parse(f"{count}/class"), seed)
    for c in labels.unique():
        assert int((labels[taken] == c).sum()) == min(count, int((labels == c).sum()))
    more = subset(labels, TrainSize.parse(f"{count + 1}/class"), seed)
    assert set(taken.tolist()) <= set(more.tolist())
    assert subset(labels, TrainSize.parse("100%"), seed).tolist() == list(range(len(labels)))


@given(LABELS, st.integers(0, 99))
def test_folds_hold_out_each_image_once_and_never_a_class_whole(labels: torch.Tensor, seed: int) -> None:
    fold = folds(labels, 4, seed)
    sizes = torch.bincount(fold[fold >= 0], minlength=4)
    assert sizes.max() - sizes.min() <= 1
    for out in range(4):
        assert set(labels[fold != out].tolist()) == set(labels.tolist())
    for c in labels.unique():
        spread = torch.bincount(fold[(labels == c) & (fold >= 0)], minlength=4)
        assert spread.max() - spread.min() <= 1
        assert bool((fold[labels == c] < 0).any()) == (int((labels == c).sum()) == 1)


@given(LABELS, st.integers(0, 99))
def test_a_share_of_every_class_is_held_out(labels: torch.Tensor, seed: int) -> None:
    mask = held_out(labels, 0.2, seed)
    for c in labels.unique():
        images, out = int((labels == c).sum()), int(mask[labels == c].sum())
        assert out < images
        assert out == pytest.approx(0.2 * images, abs=1)


def test_a_seed_decides() -> None:
    labels = torch.arange(60) % 3
    first = subset(labels, TrainSize.parse("5/class"), 1)
    assert torch.equal(first, subset(labels, TrainSize.parse("5/class"), 1))
    assert not torch.equal(first, subset(labels, TrainSize.parse("5/class"), 2))
