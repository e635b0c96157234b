"""Calibrated rows: the mean over NLTK's WordNet, and what it is for, on rows of which the truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from catlipctl.checkpoints import Checkpoint
from catlipctl.labels import wordnet
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.transfer import transfer_init
from catlipctl.transfer.initialise.calibration import CHUNK, smoothed
from catlipctl.transfer.probes import zero_shot

from ..conftest import NAMES, keys

TARGET = LabelSet(
    "mine",
    tuple(
        Label(name, keys(*meant))
        for name, meant in {
            "dog": ("dog.n.01",),
            "vehicle": ("vehicle.n.01",),
            "kitchen_dog": ("kitchen.n.01", "dog.n.01"),
            "algebra": ("algebra.n.01",),
        }.items()
    ),
)
SOURCES = {"dog": [[0]], "vehicle": [[2, 3]], "kitchen_dog": [[7], [0]]}
"""Places in NAMES that each label is met by, for each of its words."""


@pytest.mark.usefixtures("nltk_data")
def test_rows_are_means_over_nltks_wordnet() -> None:
    from nltk.corpus import wordnet as wn

    names = [*NAMES, "jordan.n.01"]  # an instance
    rows = torch.randn(len(names) + 1, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = smoothed(rows, ["##no synset", *keys(*names)], [1, 4])
    for place in (1, 4):
        edges = [1 / wn.synset(names[place - 1]).path_similarity(wn.synset(name)) - 1 for name in names]
        expected = np.average(rows[1:].numpy(), axis=0, weights=3.0 ** -np.array(edges))
        assert np.allclose(found[place].numpy(), expected)
    rest = [0, 2, 3, *range(5, len(rows))]
    assert torch.equal(found[rest], rows[rest])


def test_many_rows_are_made_in_chunks_as_in_one() -> None:
    rows = torch.randn(len(NAMES), 3, generator=torch.Generator().manual_seed(0))
    wanted = [place % len(NAMES) for place in range(CHUNK + 5)]
    assert torch.allclose(smoothed(rows, keys(*NAMES), wanted), smoothed(rows, keys(*NAMES), range(8)))


def test_the_classifier_is_made_of_them_at_one_length(checkpoint: Checkpoint) -> None:
    plain, head = (transfer_init(checkpoint, TARGET, rows=rows) for rows in ("plain", "calibrated"))
    classifier = checkpoint.tower.linear_head()
    learned = classifier.weight.detach()
    made = smoothed(learned, keys(*NAMES), range(len(NAMES)))
    for i, label in enumerate(TARGET.labels[:3]):
        mean = torch.stack([made[places].mean(0) for places in SOURCES[label.name]]).mean(0)
        assert float(torch.cosine_similarity(head.weight[i], mean, dim=0)) == pytest.approx(1)
    assert torch.allclose(head.weight[:3].norm(dim=1), learned.norm(dim=1).mean().expand(3))
    assert torch.equal(head.weight[3], plain.weight[3])  # nothing fits algebra
    assert head.account == plain.account
    assert (plain.rows, head.rows) == ("plain", "calibrated")


def test_they_are_for_labels_that_exclude_each_other_and_rows_of_a_vocabulary(checkpoint: Checkpoint) -> None:
    several = replace(TARGET, multi_label=True)
    of_synsets = replace(checkpoint, vocabulary=None, label_names=list(keys(*NAMES)))
    for tower, labels in ((checkpoint, several), (of_synsets, TARGET)):
        plain, asked = (transfer_init(tower, labels, rows=rows) for rows in ("plain", "calibrated"))
        assert asked.rows == "plain"
        assert torch.equal(asked.weight, plain.weight)


def test_noisy_rows_of_rare_classes_are_mended() -> None:
    """Rows that are alike where synsets are near, with noise, and with a length that says nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = ("dog", "cat", "horse", "truck", "bus", "bicycle", "boat", "spoon", "fork", "cup")
    relatives = ("hound", "terrier", "kitten", "mare", "pony", "van", "moped", "yacht", "canoe", "mug")
    synsets = keys(*(f"{name}.n.01" for name in labels + relatives))
    edges = torch.from_numpy(np.stack(list(wordnet.nouns().edges(synsets, synsets))))
    drawn, noise, images = (
        torch.randn(count, 40, generator=generator, dtype=torch.float64) for count in (20, 20, 2000)
    )
    truth = torch.linalg.cholesky(0.7**edges + 1e-6 * torch.eye(len(synsets))) @ drawn
    length = torch.linspace(0.3, 3, len(synsets), dtype=torch.float64)[:, None]
    learned = length * (truth + 1.2 * noise)
    made = smoothed(learned, synsets, range(len(labels)))
    classes = torch.arange(len(labels)).repeat_interleave(200)
    images = truth[classes] + 3 * images
    right = {}
    for name, rows in (("plain", learned), ("calibrated", made / made.norm(dim=1, keepdim=True))):
        logits = zero_shot(images, rows[: len(labels)]).logits(images)
        right[name] = float((logits.argmax(1) == classes).double().mean())
    assert right["calibrated"] > right["plain"] + 0.05, right
