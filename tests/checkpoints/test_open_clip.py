"""open_clip by itself opens what we give it, with our logits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from catlipctl import models
from catlipctl.checkpoints import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, open_clip_files
from catlipctl.data.sample import Sample
from catlipctl.errors import UsageError
from catlipctl.objectives import OBJECTIVES, Context, Contrastive, Superclip
from catlipctl.settings.models import ModelSettings, TextSettings
from catlipctl.settings.objectives import ClipSettings, SuperclipSettings

SETTINGS = ClipSettings(embed_dim=16, text=TextSettings(width=24, heads=2, layers=2, context_length=9))


def built(name: str, size: int, kind: str = "clip", **model_args: Any) -> Contrastive:
    torch.manual_seed(0)
    settings = ModelSettings(name=name, image_size=size, model_args=model_args)
    made = SuperclipSettings(**SETTINGS.model_dump()) if kind == "superclip" else SETTINGS
    tower = models.create(settings, OBJECTIVES[kind].head_size(made, 7))
    found = OBJECTIVES[kind].build(made, Context(tower=tower, encode=lambda _: []))
    assert isinstance(found, Contrastive)
    return found


@pytest.mark.parametrize(
    ("name", "size", "model_args"),
    [
        ("resnet10t", 32, {}),
        ("resnet10t", 32, {"kind": "siglip"}),
        ("resnet10t", 32, {"kind": "superclip"}),
        ("test_vit", 160, {"kind": "superclip"}),
        ("test_vit", 160, {"drop_path_rate": 0.1}),
        ("test_vit", 160, {"global_pool": "avg"}),
        ("test_vit", 160, {"dynamic_img_size": True}),
        ("mobilenetv3_small_050", 64, {}),
    ],
)
def test_round_trip(name: str, size: int, model_args: dict[str, Any], tmp_path: Path) -> None:
    objective = built(name, size, **model_args)
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.ndim < 2:
                nn.init.normal_(parameter, mean=0.5, std=0.05)
        objective.model.train()(torch.rand(4, 3, size, size))  # BatchNorm's statistics are no fresh one's
        objective.eval()
    config, state = open_clip_files(objective)
    (tmp_path / OPEN_CLIP_CONFIG).write_text(json.dumps(config))
    save_file(state, tmp_path / OPEN_CLIP_WEIGHTS)
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")  # a checkpoint has timm's beside it

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    captions = ["a dog", "two cats on a mat", "the sea"]
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(captions)
    samples = [Sample(caption, None, (caption,)) for caption in captions]
    assert torch.equal(objective.collate(samples, np.arange(3))["tokens"], tokens)
    if isinstance(objective, Superclip):
        assert objective.model(torch.rand(1, 3, size, size)).shape == (1, 7)

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    preprocessing = objective.tower.preprocessing
    prepared = preprocessing.standardised(preprocessing.scaled(pixels))
    torch.testing.assert_close(preprocess(image)[None], prepared)

    images = torch.cat([prepared, torch.rand(2, 3, size, size)])
    with torch.no_grad():
        logits, _ = model.eval().get_logits(images, tokens)
        ours = [
            nn.functional.normalize(f, dim=-1) for f in (objective.embedded(images), objective.text(tokens))
        ]
    scaled = ours[0] @ ours[1].T * objective.logit_scale.exp()
    wanted = scaled + getattr(objective, "logit_bias", 0.0)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)


def test_other_weights_can_be_given_and_the_scale_is_bounded() -> None:
    objective = built("resnet10t", 32)
    averaged = {name: torch.full_like(value, 7) for name, value in objective.state_dict().items()}
    averaged["range_augment.low"] = torch.zeros(3)
    _, state = open_clip_files(objective, averaged)
    assert state.pop("logit_scale").exp().item() == pytest.approx(100)
    assert len(state) == len(objective.state_dict()) - 1
    assert all((value == 7).all() for value in state.values())


@pytest.mark.parametrize(
    ("name", "size", "model_args", "why"),
    [
        ("vit_base_catlip_224", 32, {"embed_dim": 64, "depth": 1, "num_heads": 2}, "not in timm itself"),
        ("test_vit", 64, {}, "made for 64 px here, and by open_clip for 160 px"),
        ("test_vit", 160, {"depth": 1, "init_values": 0.1}, r"model_args \(depth, init_values\)"),
    ],
)
def test_a_tower_that_open_clip_cannot_make(
    name: str, size: int, model_args: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        open_clip_files(built(name, size, **model_args))
    assert caught.value.hint
