"""Both sides are what they say, and both train."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch

from catlipctl.bench.configuration import find, image_trunk
from catlipctl.bench.learners import LEARNERS, Learner
from catlipctl.bench.settings import CLASSES, Comparison, StepSettings
from catlipctl.bench.synthetic import image_label_batch, token_batch
from catlipctl.bench.timing import PHASES, train_step
from catlipctl.errors import UsageError
from catlipctl.training.world import World

CPU = torch.device("cpu")


@pytest.fixture
def comparison(tiny: Path) -> Comparison:
    return Comparison(model=str(tiny), batch_size=4, classes=100, seed=0)


def build(name: str, comparison: Comparison) -> Learner:
    return LEARNERS[name](comparison, World(cpu=True))


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_clip_has_the_parameters_of_open_clips_own_model(tiny: Path, comparison: Comparison) -> None:
    open_clip.add_model_config(tiny)
    assert build("CLIP", comparison).parameters == parameters(open_clip.create_model(tiny.stem))


def test_catlip_has_the_parameters_of_timms_vit_with_the_same_head(comparison: Comparison) -> None:
    same = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=100, pre_norm=True
    )
    assert build("CatLIP", comparison).parameters == parameters(same)


def test_the_default_pair_is_open_clips_and_has_timms_vit_small() -> None:
    default = StepSettings().comparison(CPU)
    assert default.model in open_clip.list_models()
    assert StepSettings().comparison(torch.device("cuda")).model in open_clip.list_models()
    with torch.device("meta"):
        trunk, width = image_trunk(find(default.model))
        same = timm.create_model("vit_small_patch16_224", pre_norm=True, num_classes=CLASSES)
    assert default.classes == 24_320
    assert parameters(trunk) + (width + 1) * default.classes == parameters(same)


@pytest.mark.parametrize("name", list(LEARNERS))
def test_the_loss_falls_on_a_fixed_batch(name: str, comparison: Comparison) -> None:
    learner = build(name, comparison)
    losses = [train_step(learner, CPU)[1] for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", list(LEARNERS))
def test_every_parameter_learns(name: str, comparison: Comparison) -> None:
    learner = build(name, comparison)
    before = {key: value.clone() for key, value in learner.objective.named_parameters()}
    for _ in range(2):
        train_step(learner, CPU)
    still = [key for key, value in learner.objective.named_parameters() if torch.equal(value, before[key])]
    assert still == []


@pytest.mark.parametrize("name", list(LEARNERS))
def test_a_step_is_its_phases(name: str, comparison: Comparison) -> None:
    seconds, _ = train_step(build(name, comparison), CPU)
    assert tuple(seconds) == PHASES
    assert min(seconds.values()) > 0


def test_catlip_starts_at_torchs_dense_loss(comparison: Comparison) -> None:
    learner = build("CatLIP", comparison)
    (batch,) = learner.inputs
    targets = torch.zeros(4, 100)
    targets[batch.rows, batch.classes] = 1
    logits = learner.towers(batch.images)
    dense = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / 4
    torch.testing.assert_close(learner.objective(batch), dense)


def test_a_timm_tower_keeps_its_features_and_loses_its_projection() -> None:
    with torch.device("meta"):
        trunk, width = image_trunk(find("convnext_tiny"))
        assert trunk(torch.zeros(2, 3, 224, 224)).shape == (2, width) == (2, 768)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ViT-S-61", "ViT-S-16"),
        ("/no/such.json", "JSON"),
        ("coca_ViT-B-32", "ViT-B-16"),
        ("roberta-ViT-B-32", "ViT-B-16"),
        ("RN50", "ViT-B-16"),
    ],
)
def test_what_cannot_be_compared_is_a_usage_error(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(name)
    assert hint in caught.value.hint


def test_labels_are_few_and_by_zipfs_law() -> None:
    comparison = Comparison(model="", batch_size=2000, classes=CLASSES, seed=1)
    batch = image_label_batch(comparison, 1)
    pairs = set(zip(batch.rows.tolist(), batch.classes.tolist(), strict=True))
    assert len(pairs) == len(batch.rows)
    assert 4 < len(pairs) / 2000 <= 5
    # Drawn five times without repeats, class 0 of probability p is in 1 - (1 - p)^5 of the images.
    p = 1 / (1 / np.arange(1, CLASSES + 1)).sum()
    share = (batch.classes == 0).sum().item() / 2000
    assert share == pytest.approx(1 - (1 - p) ** 5, abs=0.05)


def test_captions_end_as_open_clips_tokeniser_ends_them() -> None:
    tokens = token_batch(Comparison(model="", batch_size=64, classes=1, seed=0), {})
    real = open_clip.SimpleTokenizer()(["two dogs on a beach"])
    assert tokens.shape == (64, real.shape[1])
    assert tokens.dtype == real.dtype
    assert (tokens[:, 0] == real[0, 0]).all()
    ends = tokens.argmax(dim=1)
    assert (tokens.amax(dim=1) == real.max()).all()
    assert all(
        (row[end + 1 :] == 0).all() and (row[:end] > 0).all() for row, end in zip(tokens, ends, strict=True)
    )
