"""The recipes of transfer learning against CatLIP's Table 7, as it stands in the paper (arXiv 2404.15653)."""

import re
from pathlib import Path
from typing import Any

import pytest

from catlipctl.recipe import find, load, written
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.training.optimiser import learning_rate

COMMON = {"LR scheduler": "Cosine", "Optimizer": "AdamW", "# A100 GPUs": 1}
TABLE_7: dict[str, dict[str, Any]] = {
    "a": COMMON
    | {
        "Epochs": 30,
        "Max. LR": 0.00003,
        "Min. LR": 0.000001,
        "Weight decay": 0,
        "Batch size per GPU": 256,
    },
    "b": COMMON
    | {
        "Epochs": 10,
        "Max. LR": 0.00003,
        "Min. LR": 0.000003,
        "Weight decay": 0.05,
        "Batch size per GPU": 128,
    },
    "c": COMMON
    | {
        "Epochs": 10,
        "Max. LR": 0.00001,
        "Min. LR": 0.000001,
        "Weight decay": 0.05,
        "Batch size per GPU": 32,
    },
}
# Which part of the table, which data, pixels a side (section 5.1, Table 2), and the figure of ViT-B/16
# (Tables 1 to 3).
RECIPES = {
    "in1k-lp": ("a", "imagenet", 224, "80.1"),
    "in1k-ft": ("b", "imagenet", 224, "84.3"),
    "in1k-ft-512": ("b", "imagenet", 512, "86.1"),
    "places365-lp": ("a", "places365", 224, "53.6"),
    "places365-ft": ("b", "places365", 224, "59.2"),
    "places365-ft-512": ("b", "places365", 512, "59.4"),
    "coco-multilabel": ("c", "coco", 512, "87.9"),
}
# What the released files add: smallest and largest size, and how many there are.
SIZES = {"a": (128, 320, 7), "b224": (128, 320, 7), "b512": (256, 512, 9), "c": (256, 768, 25)}


def loaded(name: str) -> FinetuneRecipe:
    return load(FinetuneRecipe, find(name), ["checkpoint=runs/mine"], environment={}).value


def row(recipe: FinetuneRecipe) -> dict[str, Any]:
    """What a recipe says, by the table's names."""
    peak, schedule, steps = recipe.optimiser.lr, recipe.schedule, 100_000
    half = learning_rate((steps + schedule.warmup_steps) // 2, steps, peak, schedule)
    assert learning_rate(schedule.warmup_steps, steps, peak, schedule) == peak
    assert learning_rate(steps, steps, peak, schedule) == schedule.min_lr
    return {
        "Epochs": recipe.length.epochs,
        "LR scheduler": "Cosine" if half == pytest.approx((peak + schedule.min_lr) / 2, rel=1e-3) else "?",
        "Max. LR": peak,
        "Min. LR": schedule.min_lr,
        "Optimizer": "AdamW",  # the only one
        "Weight decay": recipe.optimiser.weight_decay,
        "Batch size per GPU": recipe.global_batch_size,
        "# A100 GPUs": 1,  # a global batch is one GPU's
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_the_table_field_for_field(name: str) -> None:
    part, target, size, _ = RECIPES[name]
    recipe = loaded(name)
    assert row(recipe) == TABLE_7[part]
    assert recipe.optimiser.betas == (0.9, 0.999)  # "AdamW with default beta values"
    assert (recipe.target, recipe.image_size) == (target, size)
    assert recipe.learns == ("classifier" if part == "a" else "all")
    assert recipe.layer_decay == 1  # which the paper has for detection alone
    if part == "c":
        assert recipe.loss == "bce"
    else:
        # "cross-entropy loss with label smoothing", 0.1 in the released files.
        assert recipe.loss is None
        assert recipe.classification.label_smoothing == 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_what_the_table_does_not_name_is_the_released_files(name: str) -> None:
    part, _, size, _ = RECIPES[name]
    recipe = loaded(name)
    assert recipe.sizes is not None
    low, high, count = SIZES[f"b{size}" if part == "b" else part]
    choices = recipe.sizes.choices(size)
    assert (choices[0], choices[-1], len(choices)) == (low, high, count)
    assert size in choices
    if part == "b" and size == 512:
        rows = [recipe.sizes.rows(each, size, 128) for each in choices]
        assert sum(rows) / len(rows) / 128 == pytest.approx(2.06, abs=0.01)
    if part == "a":  # which the released files have nothing of
        assert (recipe.schedule.warmup_steps, recipe.ema.momentum) == (0, None)
    else:
        assert (recipe.schedule.warmup_steps, recipe.schedule.warmup_lr) == (500, 1e-6)
        assert recipe.ema.momentum == 5e-4
    assert recipe.optimiser.clip_norm == 1.0
    assert recipe.precision == "bfloat16"
    assert recipe.range_augment is not None
    assert recipe.range_augment.target_psnr == (40, 20)
    assert recipe.crop_pct == (1.0 if size == 512 else None)


@pytest.mark.parametrize("name", RECIPES)
def test_its_header_tells_the_published_figure_and_ours(name: str) -> None:
    part, _, _, figure = RECIPES[name]
    text = written(name).text
    assert text.startswith("# ")
    assert f"Table 7{part})" in text.splitlines()[0]
    published = re.search(r"^# paper: .*\n#  .*$", text, re.MULTILINE)
    assert published is not None
    assert re.search(rf"\b{figure} of ViT-B/16.*\(Tables? [123]\)", published[0])
    assert f"Table 7{part}'s" in published[0]
    assert "released" in published[0]
    ours = re.search(r"^# ours: (.*)$", text, re.MULTILINE)
    assert ours is not None
    assert ours[1] == "not run." or re.search(r"\d{4}-\d\d-\d\d.*[0-9a-f]{7}", ours[1])


def test_every_recipe_of_the_table_is_shipped() -> None:
    folder = Path(find("in1k-lp")).parent
    shipped = {path.stem for path in folder.glob("*.yaml") if written(path.stem).command == "eval ft"}
    assert shipped == {*RECIPES, "in1k-lp-mae"}


def test_the_probe_of_superclass_is_maes() -> None:
    """MAE (arXiv 2111.06377), Appendix A.1: SuperClass names no values of its own."""
    recipe = loaded("in1k-lp-mae")
    optimiser, schedule, batch = recipe.optimiser, recipe.schedule, recipe.global_batch_size
    assert (optimiser.name, optimiser.momentum, optimiser.weight_decay) == ("lars", 0.9, 0)
    assert (batch, recipe.length.epochs) == (16384, 90)
    peak = optimiser.peak(batch)
    assert peak == pytest.approx(0.1 * batch / 256)
    steps = 90 * 78
    assert schedule.warmup(steps) == 10 * 78
    assert learning_rate(0, steps, peak, schedule) == 0
    assert learning_rate(10 * 78, steps, peak, schedule) == peak
    assert learning_rate(50 * 78, steps, peak, schedule) == pytest.approx(peak / 2)
    assert learning_rate(steps, steps, peak, schedule) == 0
    assert (recipe.augmentation.scale, recipe.augmentation.flip) == ((0.08, 1), 0.5)
    assert (recipe.learns, recipe.classifier_norm, recipe.init) == ("classifier", True, "random")
    assert (recipe.target, recipe.image_size, recipe.sizes) == ("imagenet", 224, None)
    # Its code beside the table: the trust, no smoothing, no clipping, 512 images a device.
    assert (optimiser.trust, recipe.classification.label_smoothing, optimiser.clip_norm) == (1e-3, 0, None)
    assert (recipe.device_batch_size, recipe.layer_decay, recipe.range_augment) == (512, 1, None)
    text = written("in1k-lp-mae").text
    assert "# paper: top-1 85.0 " in text
    assert "# ours: " in text
