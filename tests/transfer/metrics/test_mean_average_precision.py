"""Mean average precisions against scikit-learn's."""

import csv
import io
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from catlipctl import average_precision
from catlipctl.transfer.metrics.mean_average_precision import (
    mean_average_precision,
    mean_average_precision_intervals,
)
from catlipctl.transfer.metrics.multi_label import MultiLabelAnswers


def drawn(seed: int, images: int, classes: int, values: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of few values, so that many are equal, and targets, of which each class has one or more."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(values, (images, classes), generator=generator).float()
    targets = torch.rand(images, classes, generator=generator) < 0.3
    targets[torch.arange(classes) % images, torch.arange(classes)] = True
    return scores, targets


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 5), st.sampled_from([1, 2, 5, 1000]))
def test_all_three_means_are_scikit_learns(seed: int, images: int, classes: int, values: int) -> None:
    scores, targets = drawn(seed, images, classes, values)
    found = mean_average_precision(scores, targets)
    for name in ("macro", "micro", "weighted"):
        theirs = average_precision_score(targets.numpy(), scores.numpy(), average=name)
        assert getattr(found, name).item() == pytest.approx(theirs, abs=1e-12)
    each = average_precision_score(targets.numpy(), scores.numpy(), average=None)
    np.testing.assert_allclose(found.per_class[0].numpy(), np.atleast_1d(each), atol=1e-12)


@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 4))
def test_an_image_that_counts_several_times_is_several_images(seed: int, images: int, classes: int) -> None:
    scores, targets = drawn(seed, images, classes, 4)
    times = torch.randint(0, 3, (images,), generator=torch.Generator().manual_seed(seed))
    times[:classes] = 1
    found = mean_average_precision(scores, targets, times[None])
    again = mean_average_precision(scores.repeat_interleave(times, 0), targets.repeat_interleave(times, 0))
    for ours, theirs in zip(found, again, strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_a_class_without_images_is_left_out_of_the_macro_mean_alone() -> None:
    scores, targets = drawn(1, 30, 4, 100)
    targets[:, 2] = False
    found = mean_average_precision(scores, targets)
    rest = [0, 1, 3]
    theirs = average_precision_score(targets[:, rest].numpy(), scores[:, rest].numpy(), average="macro")
    assert found.macro.item() == pytest.approx(theirs, abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, which counts it as 0
        for name in ("micro", "weighted"):
            whole = average_precision_score(targets.numpy(), scores.numpy(), average=name)
            assert getattr(found, name).item() == pytest.approx(whole, abs=1e-12)
    assert math.isnan(found.per_class[0, 2])


def test_an_interval_is_that_of_resampled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """As drawn image by image and measured by scikit-learn; the same however it is cut into parts."""
    scores, targets = drawn(2, 60, 3, 1000)
    scores += targets * 300
    intervals = mean_average_precision_intervals(scores, targets, 0)
    generator = np.random.default_rng(7)
    for name, (low, high) in intervals.items():
        means = []
        for _ in range(300):
            rows = generator.integers(0, 60, 60)
            means.append(average_precision_score(targets[rows].numpy(), scores[rows].numpy(), average=name))
        whole = average_precision_score(targets.numpy(), scores.numpy(), average=name)
        expected = np.percentile(means, (2.5, 97.5)) - np.mean(means) + whole
        assert (low, high) == pytest.approx(tuple(expected), abs=0.04)
    monkeypatch.setattr(average_precision, "CELLS_AT_ONCE", 200)
    again = mean_average_precision_intervals(scores, targets, 0)
    np.testing.assert_allclose([*again.values()], [*intervals.values()], atol=1e-12)


def test_an_interval_of_rare_classes_is_around_the_figure() -> None:
    """Drawn twice, the only image of a class is at two ranks: all resamples score higher than the images."""
    scores = torch.rand(200, 40, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(200, 40, dtype=torch.bool)
    targets[torch.arange(40), torch.arange(40)] = True
    figure = average_precision_score(targets.numpy(), scores.numpy(), average="macro")
    low, high = mean_average_precision_intervals(scores, targets, 0)["macro"]
    assert low < figure < high


def test_the_figures_and_the_table_of_answers() -> None:
    scores, targets = drawn(3, 25, 6, 1000)
    targets[:, 4] = False
    targets[0] = False
    names = ["a", "b", "c", "d", "e", "f"]
    answers = MultiLabelAnswers(scores / 500, targets, [str(i) for i in range(25)])
    figures = answers.figures(0, names)
    assert (figures["empty_classes"], figures["test_images"]) == (1, 25)
    assert figures["macro_map"] == answers.means()["macro_map"]
    low, high = figures["macro_map_interval"]
    assert low < figures["macro_map"] < high
    rest = targets[:, [0, 1, 2, 3, 5]].float()
    assert figures["chance_map"] == pytest.approx(rest.mean().item())
    by_label = {one.label: one for one in figures["per_class"]}
    assert by_label["e"].average_precision is None
    assert by_label["b"].images == targets[:, 1].sum()
    rows = list(csv.DictReader(io.StringIO(answers.table(names))))
    assert [row["truth"] for row in rows] == [
        "; ".join(n for n, t in zip(names, row, strict=True) if t) for row in targets.tolist()
    ]
    best = rows[7]["likeliest"].split("; ")
    assert len(best) == 5
    assert best[0] == f"{names[scores[7].argmax()]} {(scores[7].max() / 500).sigmoid():.4g}"
