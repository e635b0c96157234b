"""Runs with a text tower on the embedded pairs: what the probes and zero-shot by text make of them."""

from pathlib import Path

import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from catlipctl import checkpoints, transfer
from catlipctl.pretraining import pretrain
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.transfer.labelled import open_splits
from catlipctl.transfer.probes.text import PROTOCOL

TEXT = {"width": 16, "heads": 2, "layers": 1, "context_length": 16}


@pytest.mark.parametrize("kind", ["siglip", "superclip"])
def test_a_run_is_probed_and_names_classes_it_never_learned(kind: str, tmp_path: Path) -> None:
    recipe = PretrainRecipe.model_validate(
        {
            "model": {"name": "resnet10t", "image_size": 32},
            "data": {"sources": ["emoji:pairs"]},
            "objective": kind,
            kind: {"embed_dim": 8, "text": TEXT},
            "global_batch_size": 64,
            "length": {"steps": 8},
            "optimiser": {"lr": 2e-3},
            "ema": {"momentum": None},
        }
    )
    found = pretrain(recipe, out=tmp_path / "run", cpu=True)
    assert found.final_loss is not None
    assert found.first_loss is not None
    assert found.final_loss < found.first_loss
    # SuperCLIP learns all sub-words where nothing else is said.
    assert found.vocabulary_size == (49_408 if kind == "superclip" else None)
    folders = {name: tmp_path / name for name in ("lp", "zero-shot")}
    probed = transfer.evaluate(
        checkpoints.load(tmp_path / "run"), *open_splits("emoji:transfer"), folders=folders
    ).evaluations
    assert probed["zero-shot"].protocol == PROTOCOL
    assert probed["lp"].acc1 > probed["lp"].majority_share


@pytest.mark.slow
def test_open_clip_opens_a_run_of_the_size_of_vit_s_16(tmp_path: Path) -> None:
    """Its text tower and embedding are those of open_clip's ViT-S-16; the image tower is timm's ViT-S/16."""
    config = open_clip.get_model_config("ViT-S-16")
    assert (config["vision_cfg"]["width"], config["vision_cfg"]["layers"]) == (384, 12)
    recipe = PretrainRecipe.model_validate(
        {
            "model": {"name": "vit_small_patch16_224"},
            "data": {"sources": ["emoji:pairs"]},
            "objective": "clip",
            "clip": {"embed_dim": config["embed_dim"], "text": config["text_cfg"]},
            "global_batch_size": 4,
            "length": {"steps": 1},
            "ema": {"momentum": None},
        }
    )
    pretrain(recipe, out=tmp_path / "run", cpu=True)
    checkpoint = checkpoints.load(tmp_path / "run")
    assert checkpoint.both_towers is not None
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{checkpoint.path}")
    captions, images = ["a dog", "two cats"], torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        logits, _ = model.eval().get_logits(images, open_clip.tokenize(captions))  # type: ignore[operator]
        embedded = normalize(checkpoint.tower.module(images), dim=-1)
        texts = normalize(checkpoint.both_towers.text_tower().features(captions), dim=-1)
        ours = embedded @ texts.T * model.logit_scale.exp()
    torch.testing.assert_close(logits, ours, rtol=1e-5, atol=1e-4)
    assert logits.std() > 0
