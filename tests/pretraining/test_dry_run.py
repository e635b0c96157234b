"""What the published recipes come to, against the reference's numbers, without data or GPU."""

import json
from functools import cache

import pytest
import typer
from typer.testing import CliRunner

from catlipctl import models
from catlipctl.cli.pretrain import pretrain
from catlipctl.models.text import TextSettings
from catlipctl.objectives import Clip, ClipSettings, Context
from catlipctl.pretraining import PretrainRecipe
from catlipctl.pretraining.dry_run import DryRun, dry_run
from catlipctl.recipe import Override, find, load

RELEASED = {
    128: 3136, 144: 2477, 160: 2007, 176: 1658, 192: 1393, 208: 1187, 224: 1024, 240: 892, 256: 784, 272: 694,
    288: 619, 304: 555, 320: 501,
}  # fmt: skip
"""Images of a step at each size where one at 224 px has 1,024 (reference 2.5)."""


@cache
def dry(name: str, processes: int, *overrides: str) -> DryRun:
    return dry_run(load(PretrainRecipe, find(name), [Override.parse(text) for text in overrides]), processes)


@pytest.mark.parametrize(
    ("size", "gpus", "each", "parameters", "rate"),
    [("b", 64, 1024, 104.66, 1e-3), ("h", 256, 256, 663.15, 4e-4)],  # l: below
)
def test_the_datacomp_recipes_are_the_papers(
    size: str, gpus: int, each: int, parameters: float, rate: float
) -> None:
    found = dry(f"catlip-datacomp-vit-{size}16", gpus)
    # Reference 2.1, with 24,320 classes.
    assert found.vocabulary_size == 24_320
    assert found.parameters / 1e6 == pytest.approx(parameters, abs=0.005)
    assert found.checkpoint_bytes == 16 * found.parameters
    assert (found.steps, found.process_batch, found.accumulation) == (200_001, each, 1)
    assert found.batch_over_base == pytest.approx(1.27, abs=0.005)
    assert found.images == pytest.approx(16.7e9, rel=0.01)
    # Each device's batch is rounded, as the released sampler does: at 1,024 a device these are its numbers.
    rounded = {s: int(round(224**2 * each / s**2, 2)) for s in RELEASED}
    assert {row.size: row.images for row in found.sizes} == {s: gpus * rows for s, rows in rounded.items()}
    if each == 1024:
        assert rounded == RELEASED
    values = {value.key: value.value for value in found.values}
    assert values["optimiser.lr"] == rate
    assert values["ema.momentum"] == 5e-4
    assert found.warnings == []
    assert found.flops is not None
    assert found.gpu_hours == pytest.approx(found.flops / (found.peak_flops * found.utilisation) / 3600)


def test_the_operations_of_vit_b_are_those_of_the_literature() -> None:
    """17.6 GFLOPs of multiply-adds counted once, at 224 px (timm's results; Touvron et al. 2021, Table 5)."""
    (row,) = (row for row in dry("catlip-datacomp-vit-b16", 64).sizes if row.size == 224)
    assert row.flops_per_image / 2 / 1e9 == pytest.approx(17.5, rel=0.03)


def test_cc3m_counts_epochs_of_data_that_nobody_opened() -> None:
    found = dry("catlip-cc3m-vit-b16", 4)
    assert (found.steps, found.images, found.gpu_hours, found.sizes) == (None, None, None, [])
    assert (found.process_batch, found.accumulation) == (512, 1)
    assert found.parameters / 1e6 == pytest.approx(85.96, abs=0.005)
    told = dry("catlip-cc3m-vit-b16", 4, "length.samples=290000000")
    assert told.images is not None
    assert 0 <= told.images - 290_000_000 < 4 * 3136
    assert told.batch_over_base == pytest.approx(1.27, abs=0.01)


def test_fewer_gpus_accumulate_the_same_batches() -> None:
    many, few = dry("catlip-datacomp-vit-b16", 64), dry("catlip-datacomp-vit-b16", 8)
    assert (few.process_batch, few.micro_batch, few.accumulation) == (8192, 1024, 8)
    assert few.sizes == many.sizes


def test_on_the_command_line_it_is_one_document() -> None:
    app = typer.Typer()
    app.command()(pretrain)
    result = CliRunner().invoke(app, ["catlip-datacomp-vit-l16", "--dry-run", "--json", "--gpus", "128"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    assert (found["steps"], found["process_batch"]) == (200_001, 512)
    assert found["parameters"] / 1e6 == pytest.approx(328.77, abs=0.005)
    assert {row["size"]: row["images"] for row in found["sizes"]}[320] == 128 * 250


def test_a_text_towers_parameters_are_counted() -> None:
    text = TextSettings(width=64, heads=2, layers=2, context_length=16)
    settings = ClipSettings(embed_dim=64, text=text)
    tower = models.create(models.ModelSettings(name="resnet10t", image_size=32), 64)
    learned = sum(p.numel() for p in Clip.build(settings, Context(tower=tower)).parameters())
    sizes = [
        "clip.embed_dim=64",
        f"clip.text={{{', '.join(f'{k}: {v}' for k, v in text.model_dump().items())}}}",
    ]
    assert dry("clip-demo", 1, *sizes).parameters == learned
