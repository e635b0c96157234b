"""Models beside each other: intervals against closed forms, and what is not compared."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlipctl.errors import UsageError
from catlipctl.reports.comparison import Comparison, compare, comparison
from catlipctl.reports.findings import find

NORMAL = 1.959964
"""The 97.5 % point of the normal distribution."""


def evaluation(folder: Path, hits: Sequence[bool], **changes: Any) -> Path:
    """An evaluation's files, with one test image for each of `hits`."""
    folder.mkdir(parents=True)
    document = {
        "protocol": "probe",
        "inputs": {"checkpoint": f"runs/{changes.pop('model', folder.name)}"},
        "data": {"test": {"source": changes.pop("test", "photos")}},
        "split": "test",
        "init": "transfer",
        "seed": 0,
        "acc1": float(np.mean(hits)),
        "acc5": 1.0,
        "mean_per_class_recall": 0.5,
        "majority_share": 0.25,
        "classes": 4,
        "train_images": 100,
        "test_images": len(hits),
        **changes,
    }
    (folder / "result.json").write_text(json.dumps(document))
    with (folder / "predictions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sample", "truth", "predicted", "probability"])
        rows.writerows((f"{i}.jpg", "dog", "dog" if hit else "cat", 0.5) for i, hit in enumerate(hits))
    return folder


def compared(*folders: Path, baseline: str | None = None) -> Comparison:
    return compare(find(folders), baseline)


def test_the_interval_of_a_paired_difference_is_that_of_the_normal_approximation(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    first = generator.random(2000) < 0.6
    second = np.where(generator.random(2000) < 0.8, first, generator.random(2000) < 0.75)
    (column,) = compared(evaluation(tmp_path / "a", first), evaluation(tmp_path / "b", second)).columns
    accuracy = column.cells["a"]
    spread = NORMAL * math.sqrt(first.mean() * (1 - first.mean()) / len(first))
    assert accuracy.interval == pytest.approx((first.mean() - spread, first.mean() + spread), abs=0.003)
    assert accuracy.difference is None
    found = column.cells["b"].difference
    assert found is not None
    pairs = second.astype(float) - first
    spread = NORMAL * pairs.std() / math.sqrt(len(pairs))
    # Paired: images that both answer alike add nothing to the spread.
    assert spread < 0.6 * NORMAL * math.sqrt((first.var() + second.var()) / len(pairs))
    assert found.figure == pytest.approx(pairs.mean())
    assert found.interval == pytest.approx((pairs.mean() - spread, pairs.mean() + spread), abs=0.003)
    assert found.verdict == "better"


def test_the_spread_of_seeds_is_in_the_interval(tmp_path: Path) -> None:
    def seeds(model: str, shares: Sequence[float]) -> list[Path]:
        return [
            evaluation(tmp_path / f"{model}{seed}", np.arange(4000) < 4000 * share, model=model, seed=seed)
            for seed, share in enumerate(shares)
        ]

    (column,) = compared(*seeds("a", (0.5, 0.5, 0.5, 0.5)), *seeds("b", (0.4, 0.5, 0.55, 0.6))).columns
    cells = column.cells
    assert cells["b"].seeds == [0, 1, 2, 3]
    assert cells["b"].figure == pytest.approx(np.mean((0.4, 0.5, 0.55, 0.6)))
    found = cells["b"].difference
    assert found is not None
    assert found.interval is not None
    deviation = np.std((0.4, 0.5, 0.55, 0.6)) / math.sqrt(4)
    width = (found.interval[1] - found.interval[0]) / 2
    # The images add a little to it.
    assert 0.85 * NORMAL * deviation < width < 1.2 * NORMAL * deviation
    assert found.verdict == "no verdict"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 3))
def test_a_model_does_not_differ_from_itself(
    tmp_path_factory: pytest.TempPathFactory, hits: list[bool], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("same")
    paths = (evaluation(folder / name, hits, seed=seed) for name in ("a", "b"))
    (column,) = compared(*paths).columns
    found = column.cells["b"].difference
    assert found is not None
    assert (found.figure, found.interval, found.verdict) == (0, (0, 0), "no verdict")


def test_protocols_test_sets_and_train_sizes_have_columns_of_their_own(tmp_path: Path) -> None:
    hits = [True, False, True, False]
    changes = ({}, {"protocol": "paper"}, {"test": "birds"}, {"train_images": 10}, {"model": "other"})
    folders = (
        evaluation(tmp_path / str(i), hits, **{"model": "m", **change}) for i, change in enumerate(changes)
    )
    result = compared(*folders)
    columns = {(c.protocol, c.test, c.train_images): list(c.cells) for c in result.columns}
    assert columns == {
        ("probe", "photos (test)", 100): ["m", "other"],
        ("paper", "photos (test)", 100): ["m"],
        ("probe", "birds (test)", 100): ["m"],
        ("probe", "photos (test)", 10): ["m"],
    }


def test_inits_and_untrained_towers_are_models_of_their_own(tmp_path: Path) -> None:
    hits = [True, False]
    result = compared(
        evaluation(tmp_path / "a", hits, model="m", init="transfer"),
        evaluation(tmp_path / "b", hits, model="m", init="random"),
        evaluation(tmp_path / "c", hits, model="m", init="random", random_backbone=True),
        baseline="runs/m, random",
    )
    assert result.models == ["runs/m, random", "runs/m, transfer", "runs/m, untrained"]
    assert result.columns[0].cells["runs/m, random"].difference is None


def test_what_cannot_be_paired_is_not_tested(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", [True, False, True])
    fewer = evaluation(tmp_path / "b", [True, False])
    without = evaluation(tmp_path / "c", [True, False, True])
    (without / "predictions.csv").unlink()
    cells = compared(first, fewer, without).columns[0].cells
    assert cells["b"].difference is not None
    assert cells["b"].difference.verdict == "other test images"
    assert cells["c"].difference is not None
    assert cells["c"].difference.verdict == "no predictions"
    assert cells["c"].interval is None
    with pytest.raises(UsageError, match="measures what another result measures too, with seed 0"):
        compared(first, evaluation(tmp_path / "again", [True, False, True], model="a"))
    with pytest.raises(UsageError, match="no model is called z"):
        compared(first, baseline="z")


def test_the_figure_has_a_point_for_each_cell(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    hits = np.arange(10) < 7
    result = compared(evaluation(tmp_path / "a", hits), evaluation(tmp_path / "b", ~hits))
    (axes,) = comparison(result).axes
    assert {line.get_label(): line.get_xdata()[0] for line in axes.lines} == {"a": 0.7, "b": 0.3}
    assert {"70.0%", "30.0%"} <= {text.get_text() for text in axes.texts}


def test_several_labels_an_image_are_compared_by_their_mean_average_precision(tmp_path: Path) -> None:
    """Without the scores of each image there is no paired test; nor do the two kinds share a column."""
    for name, figure in (("a", 0.3), ("b", 0.4)):
        folder = evaluation(tmp_path / name, [True, False])
        document = json.loads((folder / "result.json").read_text())
        document = {key: value for key, value in document.items() if key not in ("acc1", "acc5")} | {
            "protocol": "multi-label probe",
            "macro_map": figure,
            "macro_map_interval": [figure - 0.1, figure + 0.1],
            "micro_map": 0.5,
            "weighted_map": 0.5,
            "chance_map": 0.05,
            "labels_per_image": 2.0,
        }
        (folder / "result.json").write_text(json.dumps(document))
    several, exclusive = compared(tmp_path / "a", tmp_path / "b", evaluation(tmp_path / "c", [True])).columns
    assert (several.measure, exclusive.measure) == ("macro mAP", "top-1")
    cells = several.cells
    assert (cells["a"].figure, cells["b"].figure, cells["a"].chance) == (0.3, 0.4, 0.05)
    assert cells["b"].interval == pytest.approx((0.3, 0.5))
    assert cells["b"].difference is not None
    assert cells["b"].difference.verdict == "no predictions"
