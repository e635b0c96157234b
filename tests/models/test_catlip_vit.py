"""The released CatLIP ViT against the reference's numbers, torch's interpolation and timm's nearest tower."""

import pytest
import timm
import torch
import torch.nn.functional as F

from catlipctl import models
from catlipctl.models.catlip_vit import interpolate_positions
from catlipctl.settings.models import ModelSettings, RangeAugmentSettings
from catlipctl.training.optimiser import parameter_groups

SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize(
    ("size", "total", "backbone", "heads"),
    [("base", 104.66, 85.96, 12), ("large", 328.77, 303.84, 16), ("huge", 663.15, 632.00, 20)],
)
def test_parameters_and_heads_equal_the_released_ones(size, total, backbone, heads):
    with torch.device("meta"):
        model = timm.create_model(f"vit_{size}_catlip_224", num_classes=24_320)
    count = sum(p.numel() for p in model.parameters()) / 1e6
    head = sum(p.numel() for p in model.get_classifier().parameters()) / 1e6
    assert round(count, 2) == total
    assert round(count - head, 2) == backbone
    assert {block.attn.num_heads for block in model.blocks} == {heads}


def test_weights_that_decay_are_those_of_the_released_code():
    with torch.device("meta"):
        vit = timm.create_model("vit_base_catlip_224", num_classes=24_320)
        augment = models.RangeAugment(RangeAugmentSettings(), steps=10, seed=0)
    module = torch.nn.ModuleDict({"vit": vit, "range_augment": augment})
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = parameter_groups(dict(module.named_parameters()), weight_decay=0.2)
    found = {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in groups}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert found[0.2] == {
        *("vit.cls_token", "vit.pos_embed", "vit.head.weight"),
        *(f"vit.patch_embed.backbone.{i}.conv.weight" for i in range(3)),
        *(f"vit.blocks.{i}.{layer}.weight" for i in range(12) for layer in layers),
        *(
            f"range_augment.{op}.{end}"
            for op in ("brightness", "contrast", "noise")
            for end in ("low", "high")
        ),
    }
    assert found[0.0] == set(names.values()) - found[0.2]


def test_initialisation_is_the_one_measured_on_the_released_code():
    torch.manual_seed(0)
    model = timm.create_model("vit_base_catlip_224", num_classes=24_320, depth=1)
    assert model.head.weight.std().item() == pytest.approx(0.00893, abs=2e-5)
    assert model.blocks[0].attn.qkv.weight.std().item() == pytest.approx(0.0255, abs=1e-4)
    assert model.pos_embed.std().item() == pytest.approx(768**-0.5, rel=0.02)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.1)
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert all(m.bias.abs().max() == 0 for m in linear)
    assert model.patch_embed.backbone[2].conv.bias.abs().max() > 0
    norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 3
    assert {m.eps for m in norms} == {1e-6}


def test_logits_equal_timms_port_once_that_is_padded_as_released():
    torch.manual_seed(0)
    ours = timm.create_model("vit_base_catlip_224", num_classes=7, depth=2).eval()
    port = timm.create_model("vit_base_mci_224", num_classes=7, depth=2).eval()
    port.load_state_dict(ours.state_dict(), strict=True)
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert not torch.allclose(port(images), ours(images), atol=1e-4)
        port.patch_embed.backbone[0].conv.padding = (1, 1)
        torch.testing.assert_close(port(images), ours(images))


@pytest.mark.parametrize("tokens", [64, 196, 400, 1024])
def test_positions_are_interpolated_along_the_raster_index(tokens):
    positions = torch.randn(1, 196, 32)
    found = interpolate_positions(positions, tokens)
    flat = F.interpolate(positions.transpose(1, 2), size=tokens, mode="linear").transpose(1, 2)
    image = F.interpolate(positions[None], size=(tokens, 32), mode="bilinear")[0]
    torch.testing.assert_close(found, flat)
    assert torch.equal(found, image)


def test_every_size_stores_196_positions_and_shares_its_weights():
    torch.manual_seed(0)
    native = timm.create_model("vit_base_catlip_224", num_classes=5, **SMALL).eval()
    built = timm.create_model("vit_base_catlip_224", num_classes=5, img_size=320, **SMALL).eval()
    built.load_state_dict(native.state_dict(), strict=True)
    resized = timm.create_model("vit_base_catlip_224", num_classes=5, **SMALL).eval()
    resized.load_state_dict(native.state_dict(), strict=True)
    resized.set_input_size((320, 320))
    assert built.pos_embed.shape == resized.pos_embed.shape == (1, 196, 64)
    assert built.patch_embed.grid_size == resized.patch_embed.grid_size == (20, 20)
    images = torch.rand(2, 3, 320, 320)
    with torch.no_grad():
        expected = native(images)
        assert torch.equal(built(images), expected)
        assert torch.equal(resized(images), expected)
    maps = native.forward_intermediates(torch.rand(1, 3, 128, 128), intermediates_only=True)
    assert maps[-1].shape == (1, 64, 8, 8)


def test_the_class_token_gets_no_position():
    model = timm.create_model("vit_base_catlip_224", num_classes=5, **SMALL)
    tokens = model._pos_embed(torch.zeros(1, 196, 64))
    assert torch.equal(tokens[:, :1], model.cls_token)
    assert torch.equal(tokens[:, 1:], model.pos_embed)


def test_data_config_normalises_nothing():
    settings = ModelSettings(name="vit_base_catlip_224", image_size=320, model_args=SMALL)
    found = models.create(settings, num_classes=5).preprocessing
    assert (found.size, found.mean, found.std) == (320, (0, 0, 0), (1, 1, 1))
    assert found.interpolation == "bilinear"
    assert found.crop_pct == pytest.approx(224 / 232)
