"""The probe of images with several labels: end to end on drawn images, and on features of known rows."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torch import Tensor

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import open_source
from catlipctl.errors import DataError
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.reports import scores as kept_scores
from catlipctl.transfer import MultiLabelProbeResult, linear_probe, predict
from catlipctl.transfer.features import LabelledFeatures, ProbeSets
from catlipctl.transfer.initialise import AccountRow, TransferredHead
from catlipctl.transfer.labelled import TrainSize
from catlipctl.transfer.probes import multi_label

from ..conftest import timm_logits

K, D = 4, 16


def known(samples: int = 400, seed: int = 0) -> tuple[ProbeSets, TransferredHead]:
    """Labels drawn each from a sigmoid of known rows, and a head that has these rows."""
    generator = torch.Generator().manual_seed(seed)
    rows = 1.5 * torch.randn(K, D, generator=generator)
    values = torch.randn(samples, D, generator=generator)
    targets = torch.rand(samples, K, generator=generator) < (values @ rows.T - 1).sigmoid()
    half = samples // 2
    sets = ProbeSets(
        train=LabelledFeatures(values[:half], targets[:half]),
        test=LabelledFeatures(values[half:], targets[half:]),
        test_samples=[f"image {i}" for i in range(samples - half)],
        classes=LabelSet("known", tuple(Label(f"c{i}", ()) for i in range(K)), multi_label=True),
        split="",
        unreadable=0,
        unlabelled=0,
    )
    account = [
        AccountRow(label=f"c{i}", synsets=[], how="exact", similarity=1, sources=["x"], source_names=["x"])
        for i in range(K)
    ]
    return sets, TransferredHead("known", rows, torch.full((K,), -1.0), account)


def macro(targets: Tensor, logits: Tensor) -> float:
    return float(average_precision_score(targets.numpy(), logits.numpy(), average="macro"))


def test_without_a_prior_it_is_scikit_learns_best_regression() -> None:
    """As good as with the strength that is best on the test images: no choice of it can be much better."""
    sets, _ = known()
    fit, scores = multi_label.probe(sets, None, init="random")
    assert scores.macro_map == pytest.approx(macro(sets.test.labels, fit.logits(sets.test.values)))
    assert (scores.choice.prior_scale, scores.prior, scores.zero_shot_macro_map) == (0, {}, None)
    best = min(scores.choice.grid, key=lambda point: point.cross_entropy)
    assert scores.choice.regularisation == best.regularisation
    theirs = []
    for strength in (0.01, 0.1, 1, 10):
        columns = [
            LogisticRegression(C=strength)
            .fit(sets.train.values.numpy(), sets.train.labels[:, c].numpy())
            .decision_function(sets.test.values.numpy())
            for c in range(K)
        ]
        theirs.append(macro(sets.test.labels, torch.tensor(list(zip(*columns, strict=True)))))
    assert scores.macro_map > max(theirs) - 0.005


def test_a_true_prior_helps_and_a_false_one_does_no_harm() -> None:
    few, gains = TrainSize.parse("10%"), []
    for seed in range(3):
        sets, head = known(seed=seed)
        _, transfer = multi_label.probe(sets, head, train_size=few, seed=seed)
        _, random = multi_label.probe(sets, head, train_size=few, init="random", seed=seed)
        gains.append(transfer.macro_map - random.macro_map)
        assert transfer.prior["exact"] == K
        zero_shot = macro(sets.test.labels, sets.test.values @ head.weight.T + head.bias)
        assert transfer.zero_shot_macro_map == pytest.approx(zero_shot, abs=1e-6)
    assert min(gains) > 0.02
    _, whole = multi_label.probe(sets, None)
    _, misled = multi_label.probe(sets, replace(head, weight=head.weight.flip(0)))
    assert misled.macro_map > whole.macro_map - 0.02


def test_timm_opens_what_was_written_and_counts_the_same(
    checkpoint: Checkpoint, scenes: Path, tmp_path: Path
) -> None:
    train, test = (
        open_source(str(scenes / f"{split}.jsonl"), label_key="seen", need="labels")
        for split in ("train", "test")
    )
    result = linear_probe(checkpoint, train, test, out=tmp_path / "lp")
    assert isinstance(result, MultiLabelProbeResult)
    assert (result.train_images, result.test_images, result.classes, result.unlabelled) == (60, 40, 3, 0)
    assert result.prior["exact"] == 3
    images = [scenes / f"test-{i}.png" for i in range(40)]
    logits = timm_logits(str(result.checkpoint), images)
    names = ["cat", "dog", "truck"]
    targets = torch.tensor([[name in (labels or ()) for name in names] for labels in test.labels()])
    for average in ("macro", "micro", "weighted"):
        theirs = average_precision_score(targets.numpy(), logits.numpy(), average=average)
        assert getattr(result, f"{average}_map") == pytest.approx(theirs, abs=2e-3)
    assert result.macro_map > 2 * result.chance_map
    kept = kept_scores.read(tmp_path / "lp" / kept_scores.FILE)
    assert torch.allclose(torch.from_numpy(kept.scores).float(), logits, rtol=1e-3, atol=0.02)
    assert torch.equal(torch.from_numpy(kept.labels), targets)
    rows = list(csv.DictReader((tmp_path / "lp" / "predictions.csv").open()))
    assert [row["truth"] for row in rows] == ["; ".join(sorted(names or ())) for names in test.labels()]

    # Nobody says how many labels an image has: those that are likelier than not are told.
    told = predict(checkpoints.load(tmp_path / "lp"), images)
    assert told.probabilities == "sigmoid"
    for answer, row in zip(told.images, logits.sigmoid(), strict=True):
        sure = {name for name, value in zip(names, row.tolist(), strict=True) if value > 0.51}
        possible = {name for name, value in zip(names, row.tolist(), strict=True) if value > 0.49}
        assert sure <= {label.label for label in answer.labels} <= possible
    assert {len(answer.labels) for answer in told.images} >= {0, 1, 2}


def test_several_labels_are_refused_where_they_exclude_each_other(
    checkpoint: Checkpoint, scenes: Path
) -> None:
    train = open_source(str(scenes / "train.jsonl"), label_key="seen", need="labels")
    with pytest.raises(DataError, match="images have several labels, the first dog, "):
        linear_probe(checkpoint, train, None, multi_label=False)
