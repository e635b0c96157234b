"""Several probes from one extraction: each is what it would be alone."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.errors import CheckpointError, UsageError
from catlipctl.transfer import evaluate, linear_probe
from catlipctl.transfer.labelled import open_splits
from catlipctl.transfer.probes import PROBES, ZeroShotResult

from ..conftest import tower


def test_each_probe_is_what_it_would_be_alone(
    checkpoint: Checkpoint, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    features_of = type(checkpoint.tower).features

    def counted(tower: object, images: torch.Tensor) -> torch.Tensor:
        given.append(len(images))
        return features_of(tower, images)  # type: ignore[arg-type]

    monkeypatch.setattr(type(checkpoint.tower), "features", counted)
    train, test = open_splits(str(folders))
    places = {name: tmp_path / name for name in PROBES}
    found = evaluate(checkpoint, train, test, folders=places, cache=tmp_path / "cache")
    assert sum(given) == 40 + 20  # one forward pass over the data, whatever is evaluated
    assert (found.extraction.images, found.extraction.cached) == (60, 0)
    assert found.left_out == {}
    assert found.folders.keys() == found.evaluations.keys() == PROBES.keys()
    alone = linear_probe(checkpoint, train, test, cache=tmp_path / "cache")
    assert sum(given) == 60
    assert (alone.extraction.images, alone.extraction.cached) == (0, 60)
    lp, zero_shot = found.evaluations["lp"], found.evaluations["zero-shot"]
    assert isinstance(zero_shot, ZeroShotResult)
    assert (lp.acc1, lp.acc1_interval) == (alone.acc1, alone.acc1_interval)
    assert (zero_shot.acc1, zero_shot.acc1_interval) == (alone.zero_shot_acc1, alone.zero_shot_acc1_interval)
    exactly = (zero_shot.exact_classes, zero_shot.exact_acc1, zero_shot.rest_acc1)
    assert exactly == (4, zero_shot.acc1, None), "all four labels stand in the vocabulary"
    for name, result in found.evaluations.items():
        written = json.loads((places[name] / "result.json").read_text())
        assert written["protocol"] == result.protocol
        rows = list(csv.DictReader((places[name] / "predictions.csv").open()))
        truth, said = ([row[column] for row in rows] for column in ("truth", "predicted"))
        assert written["acc1"] == result.acc1 == pytest.approx(accuracy_score(truth, said))
        wrong = Counter(pair for pair in zip(truth, said, strict=True) if pair[0] != pair[1])
        told = {(pair["truth"], pair["taken_for"]): pair["images"] for pair in written["confused"]}
        assert told == dict(wrong)
        assert written["mean_per_class_recall"] == pytest.approx(balanced_accuracy_score(truth, said))
    with pytest.raises(UsageError, match="never overwritten"):
        evaluate(checkpoint, train, test, folders={"zero-shot": places["zero-shot"]})


def test_what_a_tower_does_not_allow_is_left_out_and_told(folders: Path, tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "plain", tower=tower(3), config={})
    plain = checkpoints.load(tmp_path / "plain")
    splits = open_splits(str(folders))
    found = evaluate(plain, *splits, folders={name: tmp_path / name for name in ("lp", "zero-shot")})
    assert list(found.evaluations) == ["lp"]
    assert "no class has a row" in found.left_out["zero-shot"]
    assert not (tmp_path / "zero-shot").exists()
    with pytest.raises(CheckpointError, match="no zero-shot"):
        evaluate(plain, *splits, folders={"zero-shot": tmp_path / "zero-shot"})
