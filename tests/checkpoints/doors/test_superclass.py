"""Checkpoints in SuperClass's layout: open_clip's own ViT, its patches averaged, and the head beside it."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from catlipctl import checkpoints
from catlipctl.checkpoints.doors import superclass
from catlipctl.errors import CheckpointError, UsageError
from catlipctl.transfer.classifier import with_head

State = dict[str, Tensor]


def visual(width: int = 128, depth: int = 2, patch: int = 16, side: int = 32) -> VisionTransformer:
    """open_clip's tower as SuperClass sets it: `pool_type` avg, and no projection."""
    torch.manual_seed(0)
    tower = VisionTransformer(
        image_size=side,
        patch_size=patch,
        width=width,
        layers=depth,
        heads=width // 64,
        mlp_ratio=4,
        output_dim=width,
        pool_type="avg",
    )
    tower.proj = None
    for parameter in tower.parameters():
        if parameter.ndim == 1 and not parameter.is_meta:
            nn.init.normal_(parameter, mean=0.5, std=0.2)
    return tower.eval()


def state_dict(tower: VisionTransformer, classes: int) -> State:
    width = tower.conv1.out_channels
    torch.manual_seed(1)
    head = {
        "ln_mlp.weight": torch.rand(width),
        "ln_mlp.bias": torch.rand(width),
        "text_projection.weight": torch.randn(classes, width) / width**0.5,
        "text_projection.bias": torch.rand(classes),
    }
    return {
        "cap_fq": torch.zeros(1, classes, dtype=torch.float64),
        "num_samples": torch.zeros(1, 1, dtype=torch.float64),
        **{f"visual.{key}": value for key, value in tower.state_dict().items()},
        **{f"text_decoder.{key}": value for key, value in head.items()},
    }


def training(state: State) -> dict[str, Any]:
    """As its training saves it: wrapped, beside what resuming needs."""
    wrapped = {f"module.{key}": value for key, value in state.items()}
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    return {"epoch": 1, "name": "run", "state_dict": wrapped, "optimizer": optimizer, "step": 7}


def test_a_checkpoint_gives_the_logits_of_its_own_code(tmp_path: Path) -> None:
    tower = visual()
    state = state_dict(tower, classes=300)
    torch.save(training(state), tmp_path / "epoch_1.pt")
    torch.save(state, tmp_path / "state.pt")
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        features = tower(images)
        normed = F.layer_norm(
            features, (128,), state["text_decoder.ln_mlp.weight"], state["text_decoder.ln_mlp.bias"]
        )
        logits = F.linear(
            normed, state["text_decoder.text_projection.weight"], state["text_decoder.text_projection.bias"]
        )
    assert logits.std() > 0.1
    for file in ("epoch_1.pt", "state.pt"):
        loaded = checkpoints.load(f"superclass:{tmp_path / file}")
        ours = checkpoints.write(tmp_path / f"ours-{file}", tower=loaded.tower, config=loaded.config)
        for checkpoint in (loaded, checkpoints.load(ours)):
            with torch.no_grad():
                torch.testing.assert_close(checkpoint.tower.features(images), features, rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(checkpoint.tower.module(images), logits, rtol=1e-5, atol=1e-5)
    assert loaded.config["keys"] + 2 == len(state)
    assert loaded.config["ignored"] == ["how often each token was seen, which only training uses (2)"]
    assert (loaded.synsets, loaded.activation) == (None, "softmax")
    preprocessing = loaded.tower.preprocessing
    assert (preprocessing.size, preprocessing.interpolation, preprocessing.crop_pct) == (32, "bicubic", 1)
    assert preprocessing.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


def test_another_classifier_is_linear_and_comes_back_from_the_disk(tmp_path: Path) -> None:
    torch.save(state_dict(visual(), classes=50), tmp_path / "s.pt")
    loaded = checkpoints.load(f"superclass:{tmp_path / 's.pt'}")
    with pytest.raises(UsageError, match="no linear classifier"):
        loaded.tower.linear_head()
    weight, bias = torch.randn(4, 128), torch.randn(4)
    path = checkpoints.write(tmp_path / "ours", tower=with_head(loaded.tower, weight, bias), config={})
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = checkpoints.load(path).tower.module(images)
        torch.testing.assert_close(found, F.linear(loaded.tower.features(images), weight, bias))


@pytest.mark.parametrize(
    ("width", "depth", "patch", "millions", "name"),
    [
        (768, 12, 16, 85.80, "vit_base_patch16"),
        (1024, 24, 16, None, "vit_large_patch16"),
        (1024, 24, 14, None, "vit_large_patch14"),
    ],
)
def test_the_published_sizes(width: int, depth: int, patch: int, millions: float | None, name: str) -> None:
    with torch.device("meta"):
        state = state_dict(visual(width, depth, patch, 224), 49_408)
        settings, classes = superclass.recognised("file", state)
        fitted = superclass.fitted_to("file", state, settings, classes)
        made = timm.create_model(settings.name)
        theirs = timm.create_model(
            "vit_base_patch16_clip_224" if width == 768 else "vit_large_patch14_clip_224",
            patch_size=patch,
            num_classes=0,
            global_pool="avg",
            fc_norm=False,
        )
    assert (settings.name, settings.image_size, classes) == (f"{name}_superclass_224", 224, 49_408)
    assert settings.model_args == {}
    for model, tensors in (
        (made, fitted.tensors),
        (theirs, {key: value for key, value in fitted.tensors.items() if not key.startswith("head.")}),
    ):
        assert {key: value.numel() for key, value in model.state_dict().items()} == {
            key: value.numel() for key, value in tensors.items()
        }
    if millions is not None:
        assert sum(p.numel() for p in theirs.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
        assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(123.80, abs=0.01)


KEY = "visual.transformer.resblocks.1.mlp.c_fc.bias"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({KEY: None}, f"missing: {KEY}"),
        ({"visual.proj": torch.ones(128, 2)}, "unknown: visual.proj"),
        ({KEY: torch.ones(3)}, f"{KEY} is [3], not [512]"),
        ({"visual.conv1.weight": None}, "missing: visual.conv1.weight"),
        (
            {"visual.positional_embedding": torch.ones(7, 128)},
            "positional_embedding is [7, 128], not [5, 128]",
        ),
        ({"visual.positional_embedding": torch.ones(5, 64)}, "positional_embedding is [5, 64], not [5, 128]"),
        ({"text_decoder.ln_mlp.weight": None}, "missing: text_decoder.ln_mlp.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_the_key(
    change: dict[str, Tensor | None], says: str, tmp_path: Path
) -> None:
    state = state_dict(visual(), classes=30) | change
    kept = {key: value for key, value in state.items() if value is not None}
    torch.save(training(kept), tmp_path / "epoch_1.pt")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(f"superclass:{tmp_path / 'epoch_1.pt'}")
    assert says in caught.value.message


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    torch.save({"state_dict": timm.create_model("test_vit").state_dict()}, tmp_path / "vit.pt")
    with pytest.raises(CheckpointError, match="holds no tower of SuperClass's"):
        checkpoints.load(f"superclass:{tmp_path / 'vit.pt'}")
