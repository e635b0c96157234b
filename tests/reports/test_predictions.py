"""Confusion and recall as scikit-learn counts them."""

import csv
import random
from pathlib import Path

import pytest

from catlipctl.errors import DataError
from catlipctl.reports import predictions
from catlipctl.reports.page import Table

metrics = pytest.importorskip("sklearn.metrics")


def written(path: Path, classes: int, samples: int = 400) -> tuple[Path, list[str], list[str]]:
    """A predictions.csv of made-up answers, two of three right, as an evaluation writes it."""
    draw = random.Random(classes)
    names = [f"class <{i:02}>, é" for i in range(classes)]
    truth = [draw.choice(names) for _ in range(samples)]
    said = [name if draw.random() < 0.67 else draw.choice(names) for name in truth]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sample", "truth", "predicted", "probability"])
        for i, row in enumerate(zip(truth, said, strict=True)):
            writer.writerow([f"{i}.png", *row, round(draw.random(), 4)])
    return path, truth, said


def test_few_classes_are_a_matrix(tmp_path: Path) -> None:
    path, truth, said = written(tmp_path / "p.csv", 5)
    table = predictions.read(path).confusion_table()
    assert table.matrix
    names = list(table.columns[1:])
    expected = metrics.confusion_matrix(truth, said, labels=names)
    assert [row[0] for row in table.rows] == names
    for row, counts in zip(table.rows, expected, strict=True):
        assert [int(str(cell) or 0) for cell in row[1:]] == list(counts)
        assert [cell.share for cell in row[1:]] == pytest.approx(list(counts / counts.sum()))


def test_of_many_classes_the_most_confused_pairs_are_told(tmp_path: Path) -> None:
    path, truth, said = written(tmp_path / "p.csv", 40, 4000)
    table = predictions.read(path).confusion_table()
    assert not table.matrix
    names = sorted(set(truth))
    expected = metrics.confusion_matrix(truth, said, labels=names)
    pairs = {(a, b): expected[i, j] for i, a in enumerate(names) for j, b in enumerate(names) if i != j}
    most = sorted(pairs.values(), reverse=True)[: len(table.rows)]
    assert [int(row[2]) for row in table.rows] == most
    assert all(pairs[row[0], row[1]] == int(row[2]) for row in table.rows)


@pytest.mark.parametrize("classes", [5, 40])
def test_recall_of_each_class_the_worst_first(classes: int, tmp_path: Path) -> None:
    path, truth, said = written(tmp_path / "p.csv", classes, 4000)
    names = sorted(set(truth))
    recalls = metrics.recall_score(truth, said, labels=names, average=None)
    found = predictions.read(path).recalls
    assert {row.name: row.recall for row in found} == pytest.approx(dict(zip(names, recalls, strict=True)))
    assert [row.recall for row in found] == sorted(recalls)
    table = predictions.read(path).recall_table()
    shown = [row[2].share for row in table.rows]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (min(recalls), max(recalls))
    assert ("20 classes" in table.caption) == (classes == 40)


def test_the_surest_mistakes(tmp_path: Path) -> None:
    path, truth, said = written(tmp_path / "p.csv", 5)
    table = predictions.read(path).mistakes_table()
    assert f"{sum(a != b for a, b in zip(truth, said, strict=True))} mistakes in 400" in table.caption
    sure = [float(row[3].rstrip("%")) for row in table.rows]
    assert sure == sorted(sure, reverse=True)
    for sample, *named, _ in table.rows:
        i = int(sample.removesuffix(".png"))
        assert named == [truth[i], said[i]]


def test_all_right_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("sample,truth,predicted,probability\n0,a,a,1.0\n1,b,b,0.5\n")
    found = predictions.read(tmp_path / "p.csv")
    assert found.mistakes_table().rows == []
    assert isinstance(found.confusion_table(), Table)
    assert [row.taken_for for row in found.recalls] == ["", ""]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"sample,truth,predicted,probability\n",
        b"sample,truth\n1,a\n",
        b"sample,truth,predicted,probability\n1,a,b,much\n",
        b"sample,truth,predicted,probability\n1,a\n",
        b"\xff\xfe\x00",
    ],
)
def test_what_are_no_predictions(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(text)
    with pytest.raises(DataError, match=r"p\.csv"):
        predictions.read(tmp_path / "p.csv")
