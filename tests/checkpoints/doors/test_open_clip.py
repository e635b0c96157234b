"""Models of open_clip, made by open_clip with random weights: their features come in as they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip import factory, pretrained
from safetensors.torch import save_file
from torch import Tensor, nn

from catlipctl import checkpoints
from catlipctl.errors import CheckpointError, MachineError

TEXT = {"context_length": 9, "width": 64, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "patch_size": 8, "layers": 2, "width": 128}
MODELS: dict[str, dict[str, Any]] = {
    "vit": {"vision_cfg": VIT},
    "quick": {"vision_cfg": VIT, "quick_gelu": True},
    "clipa": {
        "vision_cfg": {**VIT, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"},
    },
    "average": {"vision_cfg": {**VIT, "pool_type": "avg", "head_width": 32, "mlp_ratio": 2.0}},
    "scaled": {"vision_cfg": {**VIT, "ls_init_value": 0.1}, "custom_text": True},
    "convnext": {
        "vision_cfg": {
            "timm_model_name": "test_convnext",
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 64,
        }
    },
    "resnet": {
        "vision_cfg": {"timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "", "image_size": 64},
        "init_logit_bias": -10,
    },
    "siglip": {
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_pool": "map",
            "timm_proj": "none",
            "image_size": 160,
        },
        "custom_text": True,
        "text_cfg": {**TEXT, "hf_tokenizer_name": "someone/tokens"},
    },
    "coca": {"vision_cfg": VIT, "multimodal_cfg": {"width": 64}},
    "resampler": {"vision_cfg": {**VIT, "attentional_pool": True}},
    "modified": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 64}},
    "rn50": {"vision_cfg": {"image_size": 64, "layers": [3, 4, 6, 3], "width": 64}},
    "mlp": {"vision_cfg": {"timm_model_name": "test_convnext", "timm_proj": "mlp", "image_size": 64}},
}


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Our small models, by open_clip's own way to add some."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in MODELS.items():
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 48, "text_cfg": TEXT, **config}))
    before = dict(factory._MODEL_CONFIGS)
    open_clip.add_model_config(folder)
    yield
    factory._MODEL_CONFIG_PATHS.remove(folder)
    factory._MODEL_CONFIGS = before


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, mean=0.5, std=0.2)
        size = model.visual.image_size
        model.train().encode_image(torch.rand(4, 3, *(size if isinstance(size, tuple) else (size, size))))
    return model.eval()


@pytest.mark.parametrize(
    "name", ["vit", "quick", "clipa", "average", "scaled", "convnext", "resnet", "rn50", "siglip"]
)
def test_image_and_text_features_are_those_of_open_clip(name: str, tmp_path: Path) -> None:
    model = made(name)
    state = model.state_dict()
    if name == "vit":  # as its training saves it
        torch.save(
            {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "m.pt"
        )
    else:
        torch.save(state, tmp_path / "m.pt")
    loaded = checkpoints.load(f"open_clip:{name}/{tmp_path / 'm.pt'}")
    assert loaded.name == f"open_clip:{name}/{tmp_path / 'm.pt'}"
    size = loaded.tower.preprocessing.size
    images = torch.randn(3, 3, size, size)
    ours = checkpoints.load(checkpoints.write(tmp_path / "ours", tower=loaded.tower, config=loaded.config))
    with torch.no_grad():
        expected = model.encode_image(images)
        assert expected.std() > 0.01
        for checkpoint in (loaded, ours):
            found = checkpoint.tower.module(images)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    theirs, prepared = model.visual.preprocess_cfg, ours.tower.preprocessing
    assert (prepared.mean, prepared.std) == (theirs["mean"], theirs["std"])
    assert (prepared.crop_pct, prepared.interpolation) == (1.0, theirs["interpolation"])
    if name == "siglip":
        assert loaded.both_towers is None
        assert loaded.config["text tower"] == "left out: its tokens are not CLIP's"
        return
    assert loaded.config["keys"] == len(state)
    assert loaded.both_towers is not None
    text = loaded.both_towers.text_tower()
    captions = ["a dog", "two cats on a mat", "the sea"]
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(name)(captions))
    torch.testing.assert_close(text.features(captions), expected, rtol=1e-5, atol=1e-5)


def test_a_folder_as_open_clip_saves_it(tmp_path: Path) -> None:
    model = made("average")
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    prepared = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    config = {
        "model_cfg": {"embed_dim": 48, "text_cfg": TEXT, **MODELS["average"]},
        "preprocess_cfg": prepared,
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    images = torch.randn(2, 3, 32, 32)
    for name in (f"open_clip:local-dir:{tmp_path}", f"hf-hub:{tmp_path}"):
        loaded = checkpoints.load(name)
        with torch.no_grad():
            torch.testing.assert_close(
                loaded.tower.module(images), model.encode_image(images), rtol=1e-5, atol=1e-5
            )
        preprocessing = loaded.tower.preprocessing
        assert (preprocessing.mean, preprocessing.interpolation) == ((0.5, 0.5, 0.5), "bilinear")
        assert "squash" in loaded.config["images"]
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        checkpoints.load(f"hf-hub:{tmp_path}")
    assert checkpoints.load(f"hf-hub:{tmp_path}", weights=False).tower.num_classes == 48
    for broken in (
        "{",
        "[]",
        json.dumps({"model_cfg": {}}),
        json.dumps({"model_cfg": {**config["model_cfg"], "vision_cfg": {"layers": "x"}}}),
    ):
        (tmp_path / "open_clip_config.json").write_text(broken)
        with pytest.raises(CheckpointError):
            checkpoints.load(f"hf-hub:{tmp_path}")


KEY = "visual.transformer.resblocks.1.mlp.c_fc.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({KEY: None}, f"missing: {KEY}"),
        ({"logit_scale": None}, "missing: logit_scale"),
        ({"ln_final.bias": None}, "missing: ln_final.bias"),
        ({"visual.more": torch.ones(1)}, "unknown: visual.more"),
        ({KEY: torch.ones(3, 128)}, f"{KEY} is [3, 128], not [512, 128]"),
        ({"visual.proj": torch.ones(48, 128)}, "visual.proj is [48, 128], not [128, 48]"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_the_key(
    change: dict[str, Tensor | None], says: str, tmp_path: Path
) -> None:
    state = made("vit").state_dict() | change
    torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(f"open_clip:vit/{tmp_path / 'm.pt'}")
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coca", "share a caption decoder"),
        ("resampler", "pools by attention"),
        ("modified", "no such ResNet"),
        ("mlp", "not one linear layer"),
    ],
)
def test_a_tower_that_timm_cannot_say(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "m.pt").touch()
    with pytest.raises(CheckpointError, match=says):
        checkpoints.load(f"open_clip:{name}/{tmp_path / 'm.pt'}")


@pytest.mark.parametrize("quick", [False, True])
def test_what_a_tag_needs_is_fetched_or_said(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = {"hf_hub": "nosuch/thing/", "mean": (0.1, 0.2, 0.3), **({"quick_gelu": True} if quick else {})}
    monkeypatch.setitem(pretrained._PRETRAINED, "vit", {"tag": tag})
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", None)
    with pytest.raises(MachineError, match=r"open_clip:vit/tag cannot be fetched: .* does not answer"):
        checkpoints.load("open_clip:vit/tag")
    # The activation of a tag's training holds, whatever the name of the model says.
    tower = checkpoints.load("open_clip:vit/tag", weights=False).tower
    assert (type(tower.module.blocks[0].mlp.act).__name__ == "QuickGELU") == quick
    assert tower.preprocessing.mean == (0.1, 0.2, 0.3)


def test_names_that_open_clip_does_not_know() -> None:
    for name, says, hint in (
        ("ViT-B-33/openai", "no model named 'ViT-B-33'", "ViT-B-32"),
        ("ViT-B-32/nosuch", "no weights 'nosuch'", "openai"),
        ("vit", "no weights ''", "open_clip:MODEL/FILE"),
        ("", "no model named ''", "list_models"),
    ):
        with pytest.raises(CheckpointError, match=says) as caught:
            checkpoints.load(f"open_clip:{name}")
        assert hint in caught.value.hint
