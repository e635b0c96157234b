"""open_clip's configurations: which can be compared, and their image towers."""

from pathlib import Path

import open_clip
import pytest
import torch

from catlipctl.bench.configuration import clip_model, find, image_tower, image_trunk
from catlipctl.errors import UsageError


def test_a_timm_tower_keeps_its_features_and_loses_its_projection() -> None:
    with torch.device("meta"):
        trunk, width = image_trunk(find("convnext_tiny"))
        assert trunk(torch.zeros(2, 3, 224, 224)).shape == (2, width) == (2, 768)


def test_the_tower_is_open_clips_with_a_linear_head(tiny: Path) -> None:
    model = clip_model(find(str(tiny))).eval()
    tower = image_tower(find(str(tiny)), 48, bias=False)
    tower.module.eval()
    weights = model.visual.state_dict()
    tower.linear_head().load_state_dict({"weight": weights.pop("proj").T})
    tower.module[0].load_state_dict(weights)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(tower.module(images), model.encode_image(images))
    torch.testing.assert_close(tower.head(tower.features(images)), model.encode_image(images))
    assert (tower.num_classes, tower.preprocessing.size) == (48, 64)


def test_images_are_normalised_as_open_clip_does() -> None:
    preprocessing = image_tower(find("ViT-S-16"), 2).preprocessing
    assert (preprocessing.mean, preprocessing.std) == (
        open_clip.OPENAI_DATASET_MEAN,
        open_clip.OPENAI_DATASET_STD,
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ViT-S-61", "ViT-S-16"),
        ("/no/such.json", "JSON"),
        ("coca_ViT-B-32", "ViT-B-16"),
        ("roberta-ViT-B-32", "ViT-B-16"),
        ("ViT-B-16-SigLIP", "ViT-B-16"),
        ("ViT-B-16-quickgelu", "-quickgelu"),
        ("RN50", "ViT-B-16"),
    ],
)
def test_what_cannot_be_compared_is_a_usage_error(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(name)
    assert hint in caught.value.hint
