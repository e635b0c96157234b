"""The votes against scikit-learn's neighbours with the same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from catlipctl.labels.targets import Label, LabelSet
from catlipctl.transfer.features import LabelledFeatures, ProbeSets
from catlipctl.transfer.labelled import TrainSize, subset
from catlipctl.transfer.probes import knn as module
from catlipctl.transfer.probes.knn import knn


def drawn(classes: int = 7, train: int = 300, test: int = 90) -> ProbeSets:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(train + test) % classes
    centres = torch.randn(classes, 16, generator=generator)
    values = centres[labels] + 1.5 * torch.randn(train + test, 16, generator=generator)
    values *= torch.rand(len(values), 1, generator=generator) + 0.1  # lengths, which do not count
    return ProbeSets(
        train=LabelledFeatures(values[:train], labels[:train]),
        test=LabelledFeatures(values[train:], labels[train:]),
        test_samples=[str(i) for i in range(test)],
        classes=LabelSet("drawn", tuple(Label(f"c{i}", ()) for i in range(classes))),
        split="",
        unreadable=0,
        unlabelled=0,
    )


@pytest.mark.parametrize(("k", "temperature"), [(20, 0.07), (1, 0.07), (300, 0.5)])
def test_it_is_scikit_learns(k: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TESTED_AT_ONCE", 32)
    monkeypatch.setattr(module, "COMPARED_AT_ONCE", 17)
    sets = drawn()
    theirs = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / temperature)
    )
    theirs.fit(sets.train.values.numpy(), sets.train.labels.numpy())
    answered = knn(sets, k=k, temperature=temperature)
    expected = theirs.predict_proba(sets.test.values.numpy())
    np.testing.assert_allclose(answered.logits.softmax(1).numpy(), expected, atol=1e-4)
    score = theirs.score(sets.test.values.numpy(), sets.test.labels.numpy())
    assert answered.figures(0)["acc1"] == pytest.approx(score)
    assert 0.3 < score < 0.95


def test_half_precision_subsets_and_few_images() -> None:
    sets = drawn()
    size = TrainSize.parse("2/class")
    rows = subset(sets.train.labels, size, 3)
    theirs = KNeighborsClassifier(
        14, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(sets.train.values[rows].numpy(), sets.train.labels[rows].numpy())
    expected = theirs.predict_proba(sets.test.values.numpy())
    few = knn(sets, train_size=size, seed=3)  # 20 are asked for, 14 there are
    np.testing.assert_allclose(few.logits.softmax(1).numpy(), expected, atol=1e-4)
    halved = replace(sets, train=LabelledFeatures(sets.train.values.half(), sets.train.labels))
    half = knn(halved, train_size=size, seed=3)
    np.testing.assert_allclose(half.logits.softmax(1).numpy(), expected, atol=0.02)


def test_only_images_of_classes_that_are_scored_vote() -> None:
    sets = drawn()
    scored = torch.tensor([1, 3, 4])
    inside, tested = (torch.isin(part.labels, scored) for part in (sets.train, sets.test))
    some = replace(
        sets,
        test=LabelledFeatures(sets.test.values[tested], sets.test.labels[tested]),
        scored=scored,
    )
    theirs = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(sets.train.values[inside].numpy(), sets.train.labels[inside].numpy())
    expected = theirs.predict_proba(some.test.values.numpy())
    found = knn(some).logits.softmax(1)
    np.testing.assert_allclose(found[:, scored].numpy(), expected, atol=1e-4)


def test_a_class_without_a_vote_is_no_answer() -> None:
    answered = knn(drawn(), k=1)
    figures = answered.figures(0)
    assert figures["acc5"] == figures["acc1"]  # of the five best of seven, four have no vote
