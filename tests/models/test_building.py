"""Any timm tower by name: what it is made into, at which sizes, at what cost, and what is refused."""

from functools import partial

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import save_for_hf

from catlipctl import models
from catlipctl.data.batch import Shape
from catlipctl.errors import UsageError
from catlipctl.settings.models import ModelSettings

SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 2}
SIZES = (128, 144, 224, 320)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet10t", 32), ("vit_tiny_patch16_224", 64), ("convnext_atto", 64), ("mobilenetv3_small_050", 64)],
)
def test_tower_at_another_size(name, size):
    tower = models.create(ModelSettings(name=name, image_size=size, head_bias=-5.0), num_classes=11)
    assert tower.linear_head().bias.tolist() == [-5.0] * 11
    assert resolve_model_data_config(tower.module)["input_size"] == (3, size, size)
    found, native = tower.preprocessing, timm.get_pretrained_cfg(name)
    assert (found.size, found.mean, found.std) == (size, tuple(native.mean), tuple(native.std))
    assert (tower.name, tower.num_classes) == (name, 11)
    assert "url" not in tower.module.pretrained_cfg
    assert "hf_hub_id" not in tower.module.pretrained_cfg


def test_towers_that_fix_their_size_without_saying_so():
    tower = models.create(ModelSettings(name="eva02_tiny_patch14_224", image_size=112), num_classes=3)
    assert tower.module(torch.rand(1, 3, 112, 112)).shape == (1, 3)


def test_crop_pct_can_be_said():
    tower = models.create(ModelSettings(name="resnet10t", image_size=32, crop_pct=1.0), num_classes=3)
    assert tower.preprocessing.crop_pct == 1.0


@pytest.mark.parametrize(
    ("name", "sizes", "model_args"),
    [
        ("resnet50", SIZES, {}),
        ("convnext_tiny", SIZES, {}),
        ("fastvit_mci0", SIZES, {}),
        ("vit_base_mci_224", SIZES, {"depth": 1}),
        ("vit_base_catlip_224", SIZES, SMALL),
        ("vit_tiny_patch16_224", SIZES, SMALL),
        ("eva02_tiny_patch14_224", (112, 126, 308), {"depth": 1}),
    ],
)
def test_a_tower_takes_all_sizes_and_is_saved_at_its_own(name, sizes, model_args, tmp_path):
    torch.manual_seed(0)
    settings = ModelSettings(name=name, image_size=224, model_args=model_args)
    tower = models.create(settings, num_classes=5, sizes=sizes)
    tower.module.eval()
    with torch.no_grad():
        for size in sizes if name.startswith(("vit", "eva")) else (128,):
            assert tower.module(torch.rand(1, 3, size, size)).shape == (1, 5)
        save_for_hf(tower.module, tmp_path, safe_serialization=True)
        opened = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
        images = torch.rand(1, 3, 224, 224)
        assert torch.equal(opened(images), tower.module(images))
    assert "dynamic" not in (tmp_path / "config.json").read_text()
    assert resolve_model_data_config(opened)["input_size"] == (3, 224, 224)
    if name in ("vit_tiny_patch16_224", "vit_base_mci_224"):
        with pytest.raises((AssertionError, RuntimeError)), torch.no_grad():
            opened(torch.rand(1, 3, 320, 320))


def test_positions_at_another_size_are_those_of_a_tower_made_for_it():
    settings = ModelSettings(name="vit_tiny_patch16_224", image_size=224, model_args=SMALL)
    tower = models.create(settings, num_classes=5, sizes=(96,))
    other = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=224, **SMALL)
    other.load_state_dict(tower.module.state_dict())
    other.set_input_size((96, 96))
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(tower.module.eval()(images), other.eval()(images))


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("levit_128s", (192, 224), "take images of 192 px"),
        ("swin_tiny_patch4_window7_224", (224, 288), "take images of 288 px"),
        ("beit_base_patch16_224", (160,), "take images of 160 px"),
        ("vit_tiny_patch16_224", (160, 200), "take images of 200 px.*200 is not divisible by 16"),
        ("vit_base_catlip_224", (160, 200), "take images of 200 px.*200 is not divisible by 16"),
        ("vit_base_mci_224", (160, 200), "take images of 200 px.*200 is not divisible by 16"),
        ("vit_large_patch14_224", (160, 192), "take images of 160, 192 px"),
    ],
)
def test_sizes_that_a_tower_does_not_take_are_named_before_it_is_made(name, sizes, words, monkeypatch):
    made = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: made.append(create(*a, **k)) or made[-1])
    settings = ModelSettings(name=name)
    for function in (
        models.check,
        partial(models.create, num_classes=3),
        partial(models.counts, num_classes=3),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            function(settings, sizes=sizes)
        assert caught.value.hint
    assert {parameter.device.type for module in made for parameter in module.parameters()} == {"meta"}


def test_counts_of_a_vit_by_the_closed_form():
    found = models.counts(ModelSettings(name="vit_base_catlip_224"), num_classes=24_320, sizes=(128, 320))
    assert round(found.parameters / 1e6, 2) == 104.66

    def closed(size: int) -> int:
        """2 a multiplication-addition: the stem's three convolutions, twelve blocks, the head."""
        d, patches = 768, (size // 16) ** 2
        stem = 16 * 3 * 16 * d // 4 + 4 * 4 * (d // 4) ** 2 + 4 * d // 4 * d
        tokens = patches + 1
        return 2 * (patches * stem + 12 * (12 * tokens * d**2 + 2 * tokens**2 * d) + d * 24_320)

    assert found.flops == {Shape(size): closed(size) for size in (128, 224, 320)}
    plain = models.counts(ModelSettings(name="vit_base_patch16_224"), num_classes=1000)
    assert plain.parameters == 86_567_656  # timm's own table
    assert plain.flops[Shape(224)] == 2 * (
        196 * 768**2 + 12 * (12 * 197 * 768**2 + 2 * 197**2 * 768) + 768 * 1000
    )


def test_a_head_that_is_not_linear_is_taken():
    names = ("levit_256d", "caformer_s18", "deit_tiny_distilled_patch16_224")
    towers = [models.create(ModelSettings(name=name, image_size=224), num_classes=3) for name in names]
    assert [type(tower.head).__name__ for tower in towers] == ["NormLinear", "MlpHead", "ModuleList"]
    for tower in towers:
        with pytest.raises(UsageError, match="no linear classifier"):
            tower.linear_head()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ModelSettings(name="vit_base_catlip"), "vit_base_catlip"),
        (ModelSettings(name="hf-hub:org/name"), "no tower"),
        (ModelSettings(name="vit_base_catlip_224", image_size=230), "230"),
        (ModelSettings(name="resnet10t", model_args={"layer_count": 3}), "layer_count"),
        (ModelSettings(name="resnet10t", model_args={"checkpoint_path": "a.bin"}), "checkpoint_path"),
        (ModelSettings(name="levit_128s", head_bias=-4), "no linear classifier"),
    ],
)
def test_what_cannot_be_made_is_a_usage_error(settings, words):
    with pytest.raises(UsageError, match=words) as caught:
        models.create(settings, num_classes=3)
    assert caught.value.hint
    if not settings.head_bias:
        with pytest.raises(UsageError, match=words):
            models.check(settings)


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        models.create(ModelSettings(name="resnet_10t"), num_classes=3)
    assert "resnet10t" in caught.value.hint
