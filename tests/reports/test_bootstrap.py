"""The paired bootstrap of images with several labels, from files as an evaluation leaves them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from catlipctl.checkpoints.writing import save_tensors
from catlipctl.reports.comparison import compare
from catlipctl.reports.findings import find
from catlipctl.transfer.metrics import MultiLabelAnswers

IMAGES, CLASSES, RESAMPLES = 80, 3, 500


def evaluation(folder: Path, scores: Tensor, labels: Tensor, order: Tensor, seed: int = 0) -> Path:
    """The files of one evaluation, whose images come in this order."""
    folder.mkdir()
    names = [f"c{i}" for i in range(CLASSES)]
    answers = MultiLabelAnswers(scores[order], labels[order], [f"{i}.jpg" for i in order.tolist()])
    document = {
        **answers.figures(0, names),
        "per_class": [],
        "protocol": "probe",
        "inputs": {"checkpoint": f"runs/{folder.name.split('-')[0]}"},
        "classes": CLASSES,
        "train_images": 10,
        "seed": seed,
    }
    (folder / "result.json").write_text(json.dumps(document))
    for name, text in answers.files(names).items():
        (folder / name).write_text(text)
    for name, tensors in answers.tensors().items():
        save_tensors(tensors, folder / name)
    return folder


def straight(scores: Tensor, labels: Tensor, times: np.ndarray) -> float:
    rows = np.repeat(np.arange(IMAGES), times)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each = average_precision_score(labels[rows].numpy(), scores[rows].numpy(), average=None)
    return float(np.mean(np.atleast_1d(each)[labels[rows].any(0).numpy()]))


def test_macro_map_is_compared_image_by_image(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(IMAGES, CLASSES, generator=generator) < 0.15
    noise = torch.randn(IMAGES, CLASSES, generator=generator)
    weak = labels * 0.7 + noise
    strong = labels * 1.5 + noise + 0.1 * torch.randn(IMAGES, CLASSES, generator=generator)
    # float16 is what is kept: the straight line has the very numbers.
    weak, strong = weak.half().float(), strong.half().float()
    order = torch.randperm(IMAGES, generator=generator)
    folders = [
        evaluation(tmp_path / "weak", weak, labels, torch.arange(IMAGES)),
        evaluation(tmp_path / "strong", strong, labels, order),
    ]
    (column,) = compare(find(folders), seed=3).columns
    found = column.cells["runs/strong" if "runs/strong" in column.cells else "strong"]

    by_name = torch.tensor(sorted(range(IMAGES), key=lambda i: f"{i}.jpg"))
    drawn = np.random.default_rng(3).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), RESAMPLES)
    once = np.ones(IMAGES, int)
    resampled, figures = [], []
    for scores in (strong, weak):
        pair = scores[by_name], labels[by_name]
        figures.append(straight(*pair, once))
        each = np.array([straight(*pair, times) for times in drawn])
        resampled.append(each - each.mean() + figures[-1])
    assert found.figure == pytest.approx(figures[0])
    assert found.interval == pytest.approx(tuple(np.percentile(resampled[0], (2.5, 97.5))), abs=1e-9)
    difference = found.difference
    assert difference is not None
    assert difference.figure == pytest.approx(figures[0] - figures[1])
    paired = resampled[0] - resampled[1]
    assert difference.interval == pytest.approx(tuple(np.percentile(paired, (2.5, 97.5))), abs=1e-9)
    # The same images rank alike: the difference of pairs is surer than that of two sets of images.
    apart = np.hypot(resampled[0].std(), resampled[1].std())
    assert paired.std() < 0.8 * apart
    assert difference.verdict == "better"


def test_scores_that_do_not_fit_are_a_fault_and_no_verdict(tmp_path: Path) -> None:
    labels = torch.arange(IMAGES * CLASSES).reshape(IMAGES, CLASSES) % 4 == 0
    scores = torch.rand(IMAGES, CLASSES, generator=torch.Generator().manual_seed(1))
    order = torch.arange(IMAGES)
    whole = evaluation(tmp_path / "a", scores, labels, order)
    for name, broken in (("b", b"nothing"), ("c", None)):
        folder = evaluation(tmp_path / name, scores, labels, order)
        if broken is None:
            save_tensors({"scores": scores[1:].half(), "labels": labels[1:]}, folder / "scores.safetensors")
        else:
            (folder / "scores.safetensors").write_bytes(broken)
        findings = find([whole, folder])
        (column,) = compare(findings).columns
        second = list(column.cells.values())[1]
        assert second.difference is not None
        assert second.difference.verdict == "no predictions"
        assert "scores.safetensors is not scores of images and classes" in findings.faults[0]
