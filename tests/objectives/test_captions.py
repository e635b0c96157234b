"""Several captions an image: one by its probability, and the weights of labels of all."""

import pickle

import numpy as np
import open_clip
import pytest
import torch
from torch.nn.functional import cross_entropy

from catlipctl.data.sample import Sample
from catlipctl.models.text import TokenCollate
from catlipctl.objectives.captions import OneCaption
from catlipctl.objectives.losses import Pairs, softmax
from catlipctl.objectives.objective import LabelCollate

WORDS = ("dog", "cat", "car")


def chosen(seed: int, start: int, stop: int, weights: tuple[float, ...] = ()) -> list[str]:
    collate = pickle.loads(pickle.dumps(OneCaption(TokenCollate(4), seed, weights)))
    samples = [Sample(str(i), None, WORDS) for i in range(start, stop)]
    tokens = {tuple(open_clip.tokenize([word], 4)[0].tolist()): word for word in WORDS}
    return [tokens[tuple(row)] for row in collate(samples, np.arange(start, stop))["tokens"].tolist()]


def test_one_of_several_captions_by_seed_and_position_alone() -> None:
    whole = chosen(0, 0, 300)
    assert chosen(0, 0, 100) + chosen(0, 100, 300) == whole
    assert chosen(1, 0, 300) != whole
    assert all(70 < whole.count(word) < 130 for word in WORDS)


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ((3.0, 1.0), (0.75, 0.25, 0)),
        ((0.0, 1.0, 1.0, 9.0), (0, 0.5, 0.5)),
        ((0.0, 0.0, 0.0, 1.0), (1 / 3,) * 3),
    ],
)
def test_a_caption_is_as_probable_as_its_weight(
    weights: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    found = chosen(0, 0, 1000, weights)
    for word, share in zip(WORDS, shares, strict=True):
        assert found.count(word) / 1000 == pytest.approx(share, abs=0.05 if share else 0)


def test_labels_weigh_what_their_captions_do() -> None:
    def encode(sample: Sample) -> list[int]:
        return sorted({int(word) for text in sample.captions for word in text.split()})

    samples = [Sample("a", None, ("3 1", "2 3", "4")), Sample("b", None, ("0",)), Sample("c", None, ())]
    found = LabelCollate(encode, (3.0, 1.0))(samples, np.arange(3))
    assert found["counts"].tolist() == [3, 1, 0]
    assert found["classes"].tolist() == [1, 2, 3, 0]
    assert found["weights"].tolist() == [0.75, 0.25, 1, 1]
    union = LabelCollate(encode)(samples, np.arange(3))
    assert union["classes"].tolist() == [1, 2, 3, 4, 0]
    assert "weights" not in union

    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 0.375, 0.125, 0.5, 0], [1.0, 0, 0, 0, 0]])
    loss = softmax(logits, Pairs.of_counts(found["classes"], found["counts"], None, found["weights"]))
    assert loss.item() == pytest.approx(cross_entropy(logits[:2], targets).item() * 2 / 3)
