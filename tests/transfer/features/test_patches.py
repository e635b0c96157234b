"""Features of patches are timm's last maps, one row a place."""

from pathlib import Path

import pytest
import timm
import torch

from catlipctl.checkpoints import Checkpoint
from catlipctl.errors import UsageError
from catlipctl.models import TimmTower
from catlipctl.transfer.features import PatchTower, extract_sets
from catlipctl.transfer.labelled import open_splits

VIT = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet10t", {}),
        ("vit_tiny_patch16_224", {"img_size": 32, "reg_tokens": 3, **VIT}),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 64, "window_size": 2, "embed_dim": 12, "depths": (1, 1)},
        ),
    ],
)
def test_their_mean_is_the_pooled_map(name: str, settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    tower = TimmTower(timm.create_model(name, num_classes=3, global_pool="avg", **settings).eval())
    size = int(settings.get("img_size", 64))  # type: ignore[call-overload]
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        patches = PatchTower(tower).features(images)
        pooled = tower.module.forward_head(tower.module.forward_features(images), pre_logits=True)
        if hasattr(tower.module, "fc_norm"):  # a ViT's last norm comes after pooling
            pooled, mean = tower.features(images), tower.module.fc_norm(patches.float().mean(1))
        else:
            mean = patches.float().mean(1)
    assert patches.dtype == torch.float16
    assert patches.shape[1:] == {"resnet10t": (4, 512), "vit_tiny_patch16_224": (16, 24)}.get(name, (64, 24))
    assert torch.allclose(mean, pooled, atol=5e-3)


def test_they_are_extracted_and_kept_apart_from_pooled_ones(
    checkpoint: Checkpoint, folders: Path, tmp_path: Path
) -> None:
    splits = open_splits(str(folders))
    tower = PatchTower(checkpoint.tower)
    made = extract_sets(tower, *splits, cache=tmp_path)
    again = extract_sets(tower, *splits, cache=tmp_path)
    pooled = extract_sets(checkpoint.tower, *splits, cache=tmp_path)
    assert (made.extraction.images, again.extraction.images, pooled.extraction.images) == (60, 0, 60)
    assert made.train.values.dtype == again.train.values.dtype == torch.float16
    assert torch.equal(made.train.values, again.train.values)
    assert torch.allclose(made.train.values.float().mean(1), pooled.train.values, atol=1e-2, rtol=1e-2)
    size = made.train.values.nbytes + made.test.values.nbytes
    assert extract_sets(tower, *splits, most_bytes=size).train.values.nbytes == made.train.values.nbytes
    with pytest.raises(UsageError, match=r"60 x 1 x 512\) take 0.0 GiB") as refused:
        extract_sets(tower, *splits, most_bytes=size - 1)
    assert "--max-memory 1" in refused.value.hint
