"""Where a classifier's bias starts, against the counts that it is made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from catlipctl import models, vocabulary
from catlipctl.errors import UsageError
from catlipctl.settings.models import ModelSettings
from catlipctl.vocabulary import Vocabulary


@pytest.fixture
def counted() -> Vocabulary:
    return Vocabulary(
        keys=("n00000001", "n00000002", "n00000003", "n00000004"),
        counts=(1200, 999, 50, 0),
        extractor="corenet",
        extractor_version="1",
        source="drawn",
        captions=1000,
        captions_without_label=0,
        counted="occurrences",
        threshold=0,
    )


def test_outputs_that_start_there_have_the_shares_of_the_counts(counted: Vocabulary) -> None:
    """Haldane's empirical logit; and all is finite of a class that is everywhere, or nowhere."""
    odds = torch.from_numpy(vocabulary.log_odds(counted))
    expected = torch.tensor([1000.5 / 1001, 999.5 / 1001, 50.5 / 1001, 0.5 / 1001], dtype=torch.float64)
    torch.testing.assert_close(odds.sigmoid(), expected)
    shares = torch.from_numpy(vocabulary.log_frequencies(counted)).softmax(0)
    counts = torch.tensor([1200.5, 999.5, 50.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(shares, counts / counts.sum())


def test_the_loss_starts_at_the_entropy_of_the_counts(counted: Vocabulary) -> None:
    """No other constant outputs have a lower one: the gradient with respect to the bias is nought."""
    share = torch.tensor([0.5, 0.3, 0.05, 0.001])
    found = replace(counted, counts=tuple(int(p * 1_000_000) for p in share), captions=1_000_000)
    tower = models.create(ModelSettings(name="resnet10t", image_size=32), 4)
    models.start_bias(tower, vocabulary.log_odds(found))
    bias = tower.linear_head().bias
    loss = F.binary_cross_entropy_with_logits(bias, share, reduction="sum")
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()).sum()
    torch.testing.assert_close(loss, entropy, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(loss, bias)
    assert gradient.abs().max() < 1e-5


def test_a_vocabulary_without_its_number_of_captions_is_refused(counted: Vocabulary) -> None:
    with pytest.raises(UsageError, match="how many captions") as caught:
        vocabulary.log_odds(replace(counted, captions=None))
    assert caught.value.hint
    assert np.isfinite(vocabulary.log_frequencies(replace(counted, captions=None))).all()
