"""The attentive probe against torch's attention, and on images of which one patch alone has the label."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from catlipctl.errors import CheckpointError, DataError
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.transfer.features import LabelledFeatures, ProbeSets
from catlipctl.transfer.probes import probe
from catlipctl.transfer.probes.attention import AttentiveClassifier
from catlipctl.transfer.probes.attentive import RATES, answers, attentive

CLASSES, PATCHES, WIDTH = 4, 12, 16


def sets_of(values: Tensor, labels: Tensor) -> ProbeSets:
    half = len(labels) // 2
    return ProbeSets(
        train=LabelledFeatures(values[:half], labels[:half]),
        test=LabelledFeatures(values[half:], labels[half:]),
        test_samples=[str(i) for i in range(half)],
        classes=LabelSet("drawn", tuple(Label(f"c{i}", ()) for i in range(CLASSES))),
        split="",
        unreadable=0,
        unlabelled=0,
    )


def one_patch_knows(samples: int = 800) -> tuple[Tensor, Tensor]:
    """Each patch shows some class; the one that is marked, wherever it is, shows the image's."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % CLASSES
    shown = torch.randint(0, CLASSES, (samples, PATCHES), generator=generator)
    marked = torch.randint(0, PATCHES, (samples,), generator=generator)
    shown[torch.arange(samples), marked] = labels
    values = 0.3 * torch.randn(samples, PATCHES, WIDTH, generator=generator)
    values.scatter_add_(2, shown[..., None], torch.ones(samples, PATCHES, 1))
    values[torch.arange(samples), marked, CLASSES] += 3
    return values, labels


def test_where_one_patch_knows_the_label_it_beats_the_mean_by_far(tmp_path: Path) -> None:
    values, labels = one_patch_knows()
    sets = sets_of(values.half(), labels)
    classifier, tried = attentive(sets)
    found = answers(classifier, sets).figures(0)["acc1"]
    _, linear = probe(sets_of(values.mean(1), labels), None, init="random")
    assert found > 0.95
    assert linear.acc1 < 0.6
    assert [rate.learning_rate for rate in tried] == list(RATES)

    save_file(classifier.state_dict(), tmp_path / "head.safetensors")
    read = AttentiveClassifier.load(tmp_path / "head.safetensors")
    assert torch.equal(answers(read, sets).logits, answers(classifier, sets).logits)
    again, _ = attentive(sets)
    assert torch.equal(again.query, classifier.query)
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no attentive classifier"):
        AttentiveClassifier.load(tmp_path / "other.safetensors")


def test_its_pooling_is_torchs_attention() -> None:
    torch.manual_seed(0)
    classifier = AttentiveClassifier(WIDTH, CLASSES, heads=2)
    patches = 5 + 3 * torch.randn(6, PATCHES, WIDTH)
    normed = functional.batch_norm(patches.transpose(1, 2), None, None, training=True, eps=1e-6)
    attention = torch.nn.MultiheadAttention(WIDTH, 2, bias=False, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(
            torch.cat([torch.eye(WIDTH), classifier.key.weight, classifier.value.weight])
        )
        attention.out_proj.weight.copy_(torch.eye(WIDTH))
        query, x = classifier.query.reshape(1, 1, WIDTH).expand(6, -1, -1), normed.transpose(1, 2)
        expected = classifier.classifier(attention(query, x, x)[0][:, 0])
        assert torch.allclose(classifier(patches), expected, atol=1e-5)
    assert AttentiveClassifier(768, 2).query.shape == (12, 64)


def test_few_images_take_a_constant_and_a_class_without_any_is_told() -> None:
    values, labels = one_patch_knows(24)
    classifier, tried = attentive(sets_of(values.half(), labels))
    assert tried == []
    assert answers(classifier, sets_of(values.half(), labels)).logits.shape == (12, CLASSES)
    with pytest.raises(DataError, match="2 classes have no training image"):
        attentive(sets_of(values.half(), labels % 2))
