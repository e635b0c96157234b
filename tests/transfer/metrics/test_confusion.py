"""Confusion is scikit-learn's matrix, and a brute-force count of pairs."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from catlipctl.transfer.metrics import Answers, confusion, most_confused, restricted


@given(st.integers(0, 999), st.integers(2, 9), st.integers(1, 80))
def test_confusion_is_scikit_learns(seed: int, classes: int, images: int) -> None:
    draw = np.random.default_rng(seed)
    logits, labels = draw.normal(size=(images, classes)), draw.integers(0, classes, images)
    names = [f"class {number}" for number in range(classes)]
    said = logits.argmax(1)
    found = confusion(torch.tensor(logits), torch.tensor(labels))
    theirs = confusion_matrix(labels, said, labels=range(classes))
    assert np.array_equal(found.to_dense().numpy(), theirs)
    pairs = Counter((t, s) for t, s in zip(labels.tolist(), said.tolist(), strict=True) if t != s)
    told = most_confused(found, names, most=5)
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:5]
    assert [(pair.truth, pair.taken_for, pair.images) for pair in told] == [
        (names[truth], names[taken], count) for (truth, taken), count in ranked
    ]
    assert all(pair.of == (labels == names.index(pair.truth)).sum() for pair in told)


def test_what_is_not_scored_is_nobodys_confusion_and_all_right_has_none() -> None:
    logits, labels = torch.tensor([[0.0, 2, 1], [3, 0, 1]]), torch.tensor([2, 0])
    names = ["a", "b", "c"]
    (pair,) = Answers(logits, labels, ["x", "y"]).confused(names)
    assert (pair.truth, pair.taken_for, pair.images, pair.of) == ("c", "b", 1, 1)
    assert Answers(restricted(logits, torch.tensor([0, 2])), labels, ["x", "y"]).confused(names) == []


def test_a_matrix_of_many_classes_takes_no_room() -> None:
    logits = torch.zeros(3, 30_000)
    logits[[0, 1, 2], [5, 29_999, 29_999]] = 1
    found = confusion(logits, torch.tensor([5, 7, 7]))
    assert found.shape == (30_000, 30_000)
    assert found.values().tolist() == [1, 2]
