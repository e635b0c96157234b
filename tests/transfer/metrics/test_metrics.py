"""Metrics against scikit-learn, their intervals against closed forms and SciPy's bootstrap."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import recall_score, top_k_accuracy_score

from catlipctl.reports.findings import Evaluation
from catlipctl.transfer import FinetuneResult, ProbeResult
from catlipctl.transfer.metrics import (
    Answers,
    interval,
    majority_share,
    mean_per_class_recall,
    share,
    top_k_hits,
)


@pytest.mark.parametrize("classes", [3, 12])
def test_scikit_learn_agrees(classes: int) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200, classes, generator=generator)
    labels = torch.randint(classes, (200,), generator=generator)
    for k in (1, 2):
        theirs = top_k_accuracy_score(labels, logits, k=k, labels=range(classes))
        assert share(top_k_hits(logits, labels, k)) == pytest.approx(theirs)
    recall = recall_score(labels, logits.argmax(1), average="macro")
    assert mean_per_class_recall(logits, labels) == pytest.approx(recall)


def test_classes_without_test_images_do_not_count() -> None:
    logits = torch.tensor([[2.0, 1, 0], [2, 1, 0], [0, 1, 2], [2, 1, 0]])
    labels = torch.tensor([0, 0, 2, 2])
    assert mean_per_class_recall(logits, labels) == pytest.approx((1 + 0.5) / 2)
    assert share(top_k_hits(logits, labels, 5)) == 1
    assert majority_share(torch.tensor([0, 1, 1, 1])) == 0.75


@pytest.mark.parametrize(("images", "accuracy"), [(2000, 0.7), (10_000, 0.98), (500, 0.1)])
def test_an_interval_is_the_normal_approximation_of_the_binomial(images: int, accuracy: float) -> None:
    hits = torch.arange(images) < images * accuracy
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / images)
    low, high = interval(hits, seed=0)
    assert low == pytest.approx(accuracy - half, abs=0.15 * half)
    assert high == pytest.approx(accuracy + half, abs=0.15 * half)
    assert interval(hits, seed=0) == (low, high)
    assert interval(hits, seed=1) != (low, high)
    assert interval(torch.ones(images, dtype=torch.bool), seed=0) == (1, 1)


def test_the_interval_of_mean_recall_is_scipys_over_images() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], (300, 60, 20))
    hits = generator.random(len(labels)) < np.array([0.9, 0.5, 0, 0.3])[labels]

    def recall(hits: np.ndarray, labels: np.ndarray) -> float:
        return float(np.mean([hits[labels == c].mean() for c in (0, 1, 3)]))

    theirs = bootstrap(
        (hits, labels), recall, paired=True, vectorized=False, method="percentile", n_resamples=2000, rng=1
    ).confidence_interval
    low, high = interval(torch.from_numpy(hits), 0, torch.from_numpy(labels))
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.08 * width)
    assert high == pytest.approx(theirs.high, abs=0.08 * width)
    # Few images of a class make mean recall less sure than accuracy is.
    of_accuracy = interval(torch.from_numpy(hits), 0)
    assert high - low > 1.3 * (of_accuracy[1] - of_accuracy[0])


def test_answers_one_by_one() -> None:
    answers = Answers(torch.tensor([[0.0, math.log(3)], [2, 0]]), torch.tensor([1, 1]), ["a,b.png", "7"])
    rows = list(csv.DictReader(io.StringIO(answers.table(["cat", "dog"]))))
    assert rows[0] == {"sample": "a,b.png", "truth": "dog", "predicted": "dog", "probability": "0.75"}
    assert (rows[1]["sample"], rows[1]["truth"], rows[1]["predicted"]) == ("7", "dog", "cat")
    assert float(rows[1]["probability"]) == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-5)


def test_an_interval_is_named_after_its_figure_everywhere() -> None:
    for kind in (ProbeResult, FinetuneResult):
        named = [name for name in kind.model_fields if name.endswith("_interval")]
        assert "acc1_interval" in named
        assert {name.removesuffix("_interval") for name in named} <= kind.model_fields.keys()
        read = {field.validation_alias or name for name, field in Evaluation.model_fields.items()}
        assert set(named) <= read
