"""Fine-tuning on images with several labels: its loss, what it starts from, and who opens what it wrote."""

import json
import math
from pathlib import Path

import pytest
import torch
from sklearn.metrics import average_precision_score

from catlipctl import checkpoints, transfer
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import open_source
from catlipctl.reports import scores
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.training.report import read_metrics
from catlipctl.transfer.classifier import log_odds

from ..conftest import timm_logits


def test_it_learns_and_timm_counts_the_same(checkpoint: Checkpoint, scenes: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    train, test = (
        open_source(str(scenes / f"{split}.jsonl"), label_key="seen", need="labels")
        for split in ("train", "test")
    )
    recipe = FinetuneRecipe.model_validate(
        {
            "checkpoint": str(checkpoint.path),
            "sources": ["drawn"],
            "global_batch_size": 20,
            "length": {"epochs": 12},
            "evaluate_epochs": 6,
            "optimiser": {"lr": 3e-3, "weight_decay": 0.05},
            "schedule": {"warmup_steps": 2},
            "augmentation": {"scale": [0.8, 1.0]},
        }
    )
    result = transfer.finetune(recipe, checkpoint, train, test, out=tmp_path / "ft")
    assert isinstance(result, transfer.MultiLabelFinetuneResult)
    assert result.macro_map > 0.8 > 1.5 * result.chance_map
    logits = timm_logits(result.checkpoint, [scenes / f"test-{i}.png" for i in range(40)])
    names = ["cat", "dog", "truck"]
    targets = torch.tensor([[name in (labels or ()) for name in names] for labels in test.labels()])
    for average in ("macro", "micro", "weighted"):
        theirs = average_precision_score(targets.numpy(), logits.numpy(), average=average)
        assert getattr(result, f"{average}_map") == pytest.approx(theirs, abs=2e-3)
    kept = scores.read(tmp_path / "ft" / scores.FILE)
    assert torch.allclose(torch.from_numpy(kept.scores).float(), logits, rtol=1e-3, atol=0.02)
    assert torch.equal(torch.from_numpy(kept.labels), targets)
    assert [row["step"] for row in result.history] == [18, 36]
    assert result.history[-1]["macro_map"] == result.macro_map
    loaded = checkpoints.load(tmp_path / "ft")
    assert (loaded.activation, loaded.label_names) == ("sigmoid", names)
    config = json.loads((Path(result.checkpoint) / "config.json").read_text())
    assert config["catlipctl"]["problem_type"] == "multi_label_classification"


def test_a_fresh_classifier_begins_at_the_classes_shares(
    checkpoint: Checkpoint, scenes: Path, tmp_path: Path
) -> None:
    """At rows of nothing the loss is the entropy of each class's share, summed over the classes."""
    train = open_source(str(scenes / "train.jsonl"), label_key="seen", need="labels")
    targets = torch.tensor([[name in (labels or ()) for name in ("cat", "dog")] for labels in train.labels()])
    counts = targets.sum(0)
    torch.testing.assert_close(log_odds(targets).sigmoid(), (counts + 0.5) / 61)
    recipe = FinetuneRecipe.model_validate(
        {
            "checkpoint": str(checkpoint.path),
            "sources": ["drawn"],
            "init": "random",
            "global_batch_size": 60,
            "length": {"steps": 1},
        }
    )
    transfer.finetune(recipe, checkpoint, train, train, out=tmp_path / "ft")
    (row,) = read_metrics(tmp_path / "ft" / "metrics.jsonl")
    share = torch.tensor(
        [sum(n in (labels or ()) for labels in train.labels()) for n in ("cat", "dog", "truck")]
    )
    share = share / 60
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()).sum().item()
    assert row["loss"] == pytest.approx(entropy, rel=0.1)
    assert entropy < 3 * math.log(2)
