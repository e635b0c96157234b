"""Files in CoreNet's layout, made from the key table of what it released, and its ViT written out plainly."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from catlipctl import checkpoints
from catlipctl.checkpoints.doors import corenet
from catlipctl.errors import CheckpointError

TINY = (128, 2, 128)
"""CoreNet's `test` mode, of two blocks: width, depth, and the width of the MLP."""
State = dict[str, Tensor]


def state_dict(
    width: int, depth: int, hidden: int, classes: int | None, prefix: str = "", device: str = "cpu"
) -> State:
    """What CoreNet's code would save; without classes a tower of dense tasks."""
    stem = max(32, width // 4)
    norm = {"weight": (stem,), "bias": (stem,), "running_mean": (stem,), "running_var": (stem,)}
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed.pos_embed.pos_embed": (1, 1, 196, width),
        "patch_emb.0.block.conv.weight": (stem, 3, 4, 4),
        **{f"patch_emb.{i}.block.norm.{key}": shape for i in (0, 1) for key, shape in norm.items()},
        "patch_emb.1.block.conv.weight": (stem, stem, 2, 2),
        "patch_emb.2.block.conv.weight": (width, stem, 2, 2),
        "patch_emb.2.block.conv.bias": (width,),
        "post_transformer_norm.weight": (width,),
        "post_transformer_norm.bias": (width,),
    }
    if classes is not None:
        shapes |= {"cls_token": (1, 1, width)}
        shapes |= {"classifier.weight": (classes, width), "classifier.bias": (classes,)}
    layers = {
        "pre_norm_mha.0": (width,),
        "pre_norm_mha.1.qkv_proj": (3 * width, width),
        "pre_norm_mha.1.out_proj_attn": (width, width),
        "pre_norm_ffn.0": (width,),
        "pre_norm_ffn.1": (hidden, width),
        "pre_norm_ffn.4": (width, hidden),
    }
    for i in range(depth):
        for layer, shape in layers.items():
            shapes[f"transformer.{i}.{layer}.weight"] = shape
            shapes[f"transformer.{i}.{layer}.bias"] = shape[:1]
    for part in ("brightness", "contrast", "noise"):
        shapes |= {f"neural_augmentor.{part}.{end}": () for end in ("_low", "_high")}
    torch.manual_seed(0)
    found = {key: torch.rand(shape, device=device) / 4 - 0.05 for key, shape in shapes.items()}
    for i in (0, 1):
        found[f"patch_emb.{i}.block.norm.running_var"] += 0.5
        found[f"patch_emb.{i}.block.norm.num_batches_tracked"] = torch.tensor(7, device=device)
    return {prefix + key: value for key, value in found.items()}


FURTHER = {
    "": [],
    "encoder.": ["seg_head.aspp.aspp_layer.convs.0.block.conv.weight", "seg_head.classifier.bias"],
    "model.backbone.encoder.": [
        "model.backbone.encoder.simple_fpn.out_l2.0.block.conv.weight",
        "model.backbone.backbone_proj_layers.4.block.conv.weight",
        "model.backbone.fpn_proj_layers.8.block.norm.bias",
        "model.backbone.extra_layers.64.block.conv.weight",
        "model.rpn.head.cls_logits.weight",
        "model.roi_heads.mask_predictor.1.bias",
    ],
}
"""What else lies in the files of each task."""


def as_released(
    prefix: str, classes: int | None, width: int = 128, depth: int = 2, hidden: int = 128
) -> State:
    found = state_dict(width, depth, hidden, classes, prefix)
    return found | {key: torch.ones(3) for key in FURTHER[prefix]}


def forward(state: State, images: Tensor, heads: int) -> Tensor:
    """The logits of CoreNet's ViT, or the features of one without a classifier."""
    x = images
    for i in range(3):
        block = f"patch_emb.{i}.block."
        x = F.conv2d(
            x,
            state[f"{block}conv.weight"],
            state.get(f"{block}conv.bias"),
            stride=4 if i == 0 else 2,
            padding=1 if i == 0 else 0,
        )
        if i < 2:
            norm = [state[f"{block}norm.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
            x = F.gelu(F.batch_norm(x, *norm, training=False, eps=1e-5))
    x = x.flatten(2).transpose(1, 2)
    positions = state["pos_embed.pos_embed.pos_embed"]
    if x.shape[1] != positions.shape[2]:
        positions = F.interpolate(positions, size=(x.shape[1], x.shape[2]), mode="bilinear")
    x = x + positions[0]
    token = state.get("cls_token")
    if token is not None:
        x = torch.cat([token.expand(len(x), -1, -1), x], dim=1)

    def norm_of(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    depth = len({key.split(".")[1] for key in state if key.startswith("transformer.")})
    for i in range(depth):
        mha, ffn = f"transformer.{i}.pre_norm_mha", f"transformer.{i}.pre_norm_ffn"
        qkv = linear(f"{mha}.1.qkv_proj", norm_of(f"{mha}.0", x))
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + linear(f"{mha}.1.out_proj_attn", (weights @ v).transpose(1, 2).flatten(2))
        x = x + linear(f"{ffn}.4", F.gelu(linear(f"{ffn}.1", norm_of(f"{ffn}.0", x))))
    x = norm_of("post_transformer_norm", x)
    x = x[:, 0] if token is not None else x.mean(1)
    return linear("classifier", x) if "classifier.weight" in state else x


@pytest.mark.parametrize(
    ("prefix", "classes", "width", "heads", "hidden"),
    [
        ("", 30, 192, 3, 768),
        ("", 24_320, 64, 1, 64),
        ("encoder.", None, 128, 2, 128),
        ("model.backbone.encoder.", None, 64, 1, 256),
    ],
)
def test_a_file_gives_the_logits_of_its_own_code(
    prefix: str, classes: int | None, width: int, heads: int, hidden: int, tmp_path: Path
) -> None:
    state = as_released(prefix, classes, width=width, hidden=hidden)
    torch.save(state, tmp_path / "vit.pt")
    loaded = checkpoints.load(f"corenet:{tmp_path / 'vit.pt'}")
    assert (loaded.tower.num_classes, loaded.label_names) == (classes or 0, None)
    assert loaded.problem_type == (checkpoints.MULTI_LABEL if classes == 24_320 else checkpoints.SINGLE_LABEL)
    plain = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    written = checkpoints.write(tmp_path / "ours", tower=loaded.tower, config=loaded.config)
    for size in (224, 160):
        images = torch.rand(2, 3, size, size)
        expected = forward(plain, images, heads)
        assert expected.std() > 0.01
        with torch.no_grad():
            torch.testing.assert_close(loaded.tower.module(images), expected, rtol=1e-5, atol=1e-5)
            assert torch.equal(checkpoints.load(written).tower.module(images), loaded.tower.module(images))
    account = loaded.config
    ignored = sum(int(line.rsplit("(", 1)[1][:-1]) for line in account["ignored"])
    assert account["keys"] + ignored == len(state)
    assert ignored == 6 + len(FURTHER[prefix])


@pytest.mark.parametrize(
    ("size", "width", "depth", "millions"),
    [("base", 768, 12, 85.96), ("large", 1024, 24, 303.84), ("huge", 1280, 32, 632.0)],
)
def test_the_released_sizes_and_tasks(size: str, width: int, depth: int, millions: float) -> None:
    """All keys of a file are accounted for, and all of the tower's are there, in its shapes."""
    for prefix, classes in (("", 24_320), ("", 365), ("encoder.", None), ("model.backbone.encoder.", None)):
        state = state_dict(width, depth, 4 * width, classes, prefix, device="meta")
        state |= {key: torch.ones(3, device="meta") for key in FURTHER[prefix]}
        shape = corenet.recognised("file", state)
        settings = corenet.settings_of(shape)
        assert settings.name == f"vit_{size}_catlip_224"
        fitted = corenet.fitted_to("file", state, shape, settings)
        dense = {} if classes else {"class_token": False, "global_pool": "avg"}
        with torch.device("meta"):
            model = timm.create_model(settings.name, num_classes=classes or 0, **dense)
        own = model.state_dict()
        assert {key: value.numel() for key, value in fitted.tensors.items()} == {
            key: value.numel() for key, value in own.items()
        }
        assert settings.model_args == dense
        counted = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head."))
        assert counted / 1e6 == pytest.approx(millions, abs=0.02)


def test_what_a_classifier_s_classes_are_and_at_which_size(tmp_path: Path) -> None:
    for name, classes, size, first in (
        ("vit_base.pt", 1000, 224, "n01440764"),
        ("vit_base_512x512.pt", 365, 512, "airfield"),
        ("vit_large.pt", 80, 512, "person"),
    ):
        torch.save(as_released("", classes), tmp_path / name)
        loaded = checkpoints.load(f"corenet:{tmp_path / name}")
        assert loaded.label_names is not None
        assert loaded.label_names[0] == first
        preprocessing = loaded.tower.preprocessing
        assert preprocessing.size == size
        assert preprocessing.resized(size) == (232 if size == 224 else 512)
        assert not any(preprocessing.mean)
        assert loaded.activation == ("sigmoid" if classes == 80 else "softmax")
        assert (loaded.synsets is not None) == (classes == 1000)


def without(key: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name != key}


def with_(key: str, value: Any) -> Callable[[State], State]:
    return lambda state: state | {key: value}


KEY = "transformer.1.pre_norm_ffn.1.weight"


@pytest.mark.parametrize(
    ("prefix", "change", "says"),
    [
        *(
            (prefix, change, says.format(prefix))
            for prefix in FURTHER
            for change, says in (
                ("missing", "missing: {}transformer.1.pre_norm_ffn.1.weight"),
                ("extra", "unknown: {}more.weight"),
                ("misshapen", "{}transformer.1.pre_norm_ffn.1.weight is [5, 128], not [128, 128]"),
            )
        ),
        ("", without("cls_token"), "missing: cls_token"),
        ("", without("classifier.weight"), "missing: classifier.weight"),
        ("", with_("seg_head.x", torch.ones(1)), "unknown: seg_head.x"),
        ("", with_("neural_augmentor.hue._low", torch.ones(1)), "unknown: neural_augmentor.hue._low"),
        (
            "",
            with_("transformer.7.pre_norm_mha.0.weight", torch.ones(128)),
            "unknown: transformer.7.pre_norm",
        ),
        ("", with_("classifier.bias", torch.ones(4)), "classifier.bias 4"),
        ("", with_("cls_token", "a word"), "cls_token is str, not [1, 1, 128]"),
        ("", with_("cls_token", torch.full((1, 1, 128), torch.nan)), "cls_token holds NaN"),
        ("", with_("cls_token", torch.eye(128).to_sparse()), "cls_token is no plain tensor"),
        ("", with_("cls_token", torch.ones(1).expand(10**12)), "claims tensors of 4,000,"),
        ("", lambda state: {"epoch": 3, "state_dict": state, "model": 1}, "unknown: model"),
        ("", lambda state: {"epoch": 3, "model_state_dict": state}, "CoreNet's training resumes from"),
        ("", lambda _: {}, "holds no tower of CatLIP's"),
        ("", lambda state: list(state.values()), "holds no tensors by name, but list"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_the_key(
    prefix: str, change: str | Callable[[State], Any], says: str, tmp_path: Path
) -> None:
    state = as_released(prefix, None if prefix else 3)
    changes = {
        "missing": without(prefix + KEY),
        "extra": with_(f"{prefix}more.weight", torch.ones(1)),
        "misshapen": with_(prefix + KEY, torch.ones(5, 128)),
    }
    torch.save((changes[change] if isinstance(change, str) else change)(state), tmp_path / "vit.pt")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(f"corenet:{tmp_path / 'vit.pt'}")
    assert says in caught.value.message


class Touch:
    """What unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_a_file_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "vit.pt"
    torch.save(as_released("", 3) | {"cls_token": Touch(tmp_path / "made")}, path)
    with pytest.raises(CheckpointError, match=r"asks for code to be run \(\w+\.open\)"):
        checkpoints.load(f"corenet:{path}")
    for content in (
        pickle.dumps({"a": Touch(tmp_path / "made")}),
        b"",
        b"PK\x03\x04",
        json.dumps({}).encode(),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"vit.pt (is refused|cannot be read)"):
            checkpoints.load(f"corenet:{path}")
    assert not (tmp_path / "made").exists()
    for name in ("", str(tmp_path / "nowhere.pt"), str(tmp_path)):
        with pytest.raises(CheckpointError, match="no file at"):
            checkpoints.load(f"corenet:{name}")
