"""SuperClass's recipes against its released files, field for field."""

import re
from pathlib import Path

import pytest
import timm

from catlipctl.models import create
from catlipctl.recipe import find, load, written
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.optimiser import learning_rate
from catlipctl.training.steps import planned

# Tower, global batch, learning rate, warm-up, betas, the crop's least share, steps; the paper's linear probe.
RECIPES = {
    "vit-b16-512m": ("base_patch16", 16_384, 5e-4, 500, (0.9, 0.98), 0.9, 31_250, "76.0"),
    "vit-l16-512m": ("large_patch16", 16_384, 5e-4, 500, (0.9, 0.98), 0.9, 31_250, "80.5"),
    "vit-b16-1b": ("base_patch16", 16_384, 5e-4, 500, (0.9, 0.98), 0.9, 78_125, "78.7"),
    "vit-l14-1b": ("large_patch14", 16_384, 5e-4, 500, (0.9, 0.98), 0.9, 78_125, "82.6"),
    "vit-l14-13b": ("large_patch14", 90_112, 1e-3, 10_000, (0.9, 0.95), 0.4, 142_046, "85.0"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_the_released_file_field_for_field(name: str) -> None:
    tower, batch, rate, warm_up, betas, share, steps, figure = RECIPES[name]
    recipe = load(PretrainRecipe, find(f"superclass-datacomp-{name}"), environment={}).value
    assert (recipe.objective, recipe.superclass) == ("superclass", None)
    assert recipe.model.name == f"vit_{tower}_superclass_224"
    assert (recipe.model.image_size, recipe.model.model_args, recipe.sizes) == (224, {}, None)
    assert recipe.vocabulary.model_dump(exclude_none=True) == {}
    assert recipe.global_batch_size == batch
    optimiser = recipe.optimiser
    assert (optimiser.lr, optimiser.betas, optimiser.eps) == (rate, betas, 1e-6)
    assert (optimiser.weight_decay, optimiser.clip_norm) == (0.2, None)
    augmentation = recipe.data.augmentation
    assert (augmentation.scale, augmentation.ratio, augmentation.flip) == ((share, 1), (3 / 4, 4 / 3), 0)
    assert (recipe.range_augment, recipe.ema.momentum, recipe.seed) == (None, None, 0)
    assert (recipe.precision, recipe.activation_checkpointing) == ("bfloat16", True)
    schedule = planned(recipe, 224, None, (0, 0))
    assert schedule is not None
    assert len(schedule) == steps
    assert recipe.schedule.warmup_steps == warm_up
    # open_clip's first rate; and its cosine, which ends at 0.
    assert learning_rate(0, steps, rate, recipe.schedule) == pytest.approx(rate / warm_up)
    assert learning_rate(warm_up, steps, rate, recipe.schedule) == rate
    assert learning_rate(steps, steps, rate, recipe.schedule) == 0
    text = written(f"superclass-datacomp-{name}").text
    assert re.search(rf"^# paper: .*{figure}", text, re.MULTILINE)
    assert re.search("^# ours: not run.$", text, re.MULTILINE)


def test_its_towers_prepare_images_as_open_clip_does_and_have_its_head() -> None:
    assert sorted(RECIPES) == sorted(
        path.stem.removeprefix("superclass-datacomp-")
        for path in Path(find("demo")).parent.glob("superclass-*.yaml")
    )
    arguments = {"embed_dim": 16, "depth": 1, "num_heads": 2}
    recipe = load(PretrainRecipe, find("superclass-datacomp-vit-b16-512m"), environment={}).value
    tower = create(recipe.model.model_copy(update={"model_args": arguments}), 7)
    theirs = timm.get_pretrained_cfg("vit_base_patch16_clip_224.openai").to_dict()
    assert (tower.preprocessing.mean, tower.preprocessing.std) == (theirs["mean"], theirs["std"])
    assert tower.preprocessing.interpolation == "bicubic"
    assert [name for name, _ in tower.head.named_parameters()] == [
        *("norm.weight", "norm.bias", "fc.weight", "fc.bias")
    ]
