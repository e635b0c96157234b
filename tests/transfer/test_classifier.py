"""Metrics against scikit-learn."""

import pytest
import torch
from sklearn.metrics import recall_score, top_k_accuracy_score

from catlipctl.transfer.classifier import majority_share, mean_per_class_recall, top_k_accuracy


@pytest.mark.parametrize("classes", [3, 12])
def test_scikit_learn_agrees(classes: int) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200, classes, generator=generator)
    labels = torch.randint(classes, (200,), generator=generator)
    for k in (1, 2):
        theirs = top_k_accuracy_score(labels, logits, k=k, labels=range(classes))
        assert top_k_accuracy(logits, labels, k) == pytest.approx(theirs)
    recall = recall_score(labels, logits.argmax(1), average="macro")
    assert mean_per_class_recall(logits, labels) == pytest.approx(recall)


def test_classes_without_test_images_do_not_count() -> None:
    logits = torch.tensor([[2.0, 1, 0], [2, 1, 0], [0, 1, 2], [2, 1, 0]])
    labels = torch.tensor([0, 0, 2, 2])
    assert mean_per_class_recall(logits, labels) == pytest.approx((1 + 0.5) / 2)
    assert top_k_accuracy(logits, labels, 5) == 1
    assert majority_share(torch.tensor([0, 1, 1, 1])) == 0.75
