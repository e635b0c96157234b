"""What the published recipes come to, against the reference's numbers, without data or GPU."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import typer
import yaml
from typer.testing import CliRunner

from catlipctl import models, vocabulary
from catlipctl.cli.pretrain import pretrain
from catlipctl.errors import UsageError
from catlipctl.objectives import Clip, Context
from catlipctl.pretraining import cost
from catlipctl.pretraining.checks import Place
from catlipctl.pretraining.dry_run import dry_run
from catlipctl.pretraining.estimate import DryRun
from catlipctl.recipe import Loaded, Override, find, load
from catlipctl.recipe.schema import leaves
from catlipctl.settings.models import ModelSettings, TextSettings
from catlipctl.settings.objectives import ClipSettings
from catlipctl.settings.pretraining import PretrainRecipe, VocabularySettings
from catlipctl.settings.training import Length
from catlipctl.training.launch import Devices

RELEASED = {
    128: 3136, 144: 2477, 160: 2007, 176: 1658, 192: 1393, 208: 1187, 224: 1024, 240: 892, 256: 784, 272: 694,
    288: 619, 304: 555, 320: 501,
}  # fmt: skip
"""Images of a step at each size where one at 224 px has 1,024 (reference 2.5)."""


@cache
def dry(name: str, processes: int, *overrides: str) -> DryRun:
    loaded = load(PretrainRecipe, find(name), [Override.parse(text) for text in overrides])
    return dry_run(loaded, Place(gpus=processes))


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


@pytest.mark.parametrize(
    ("name", "gpus", "each", "length"),
    [
        ("cc3m", 4, 512, ("length.epochs", 100)),
        ("datacomp", 256, 256, ("length.steps", 200_001)),
    ],
)
def test_the_clip_recipes_are_the_papers(name: str, gpus: int, each: int, length: tuple[str, int]) -> None:
    """CatLIP Table 6, columns CLIP; Table 2 has 149 M parameters."""
    found = dry(f"clip-{name}-vit-b16", gpus)
    assert (found.process_batch, found.accumulation) == (each, 1)
    assert found.parameters / 1e6 == pytest.approx(149, abs=1)
    assert found.warnings == []
    values = {value.key: value.value for value in found.values}
    table = {
        "global_batch_size": gpus * each,
        "optimiser.lr": 5e-4,
        "optimiser.betas": (0.9, 0.98),
        "optimiser.weight_decay": 0.2,
        "schedule.min_lr": 1e-6,
        length[0]: length[1],
    }
    assert {key: tuple(v) if isinstance(v := values[key], list) else v for key in table} == table
    # All else is the same for CatLIP: the comparison is of the objectives.
    same = {value.key: value.value for value in dry(f"catlip-{name}-vit-b16", gpus).values}
    differing = {key for key in values.keys() & same.keys() if values[key] != same[key]}
    assert differing - set(table) <= {
        "objective",
        "sizes.unit",
        "device_batch_size",
        "vocabulary.threshold",
        "vocabulary.max_size",
    }


@pytest.mark.parametrize(
    ("name", "gpus", "gibibytes", "hours"),
    [("vit-b16-photos", 1, 24, 24), ("cc12m-vit-b16", 8, 24, 12)],
)
def test_the_recipes_to_start_from_fit_what_their_headers_say(
    name: str, gpus: int, gibibytes: int, hours: int
) -> None:
    found = dry(name, gpus, "vocabulary.max_size=5000")
    assert [row.message for row in found.refusals if not row.elsewhere] == []
    assert found.warnings == []
    assert found.memory is not None
    assert sum(found.memory.values()) < 0.9 * gibibytes * 2**30
    assert found.flops is not None
    # Of the GPU that the header names: bfloat16, dense, of an RTX 4090 and of an A100.
    peak = {1: 165.2e12, 8: 312e12}[gpus]
    assert found.flops / (gpus * peak * found.utilisation) / 3600 < hours
    values = {value.key: value.value for value in found.values}
    assert found.steps is not None
    assert 0.03 < values["schedule.warmup_steps"] / found.steps < 0.06  # the released recipe's is 0.05


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
    tower = models.create(ModelSettings(name="resnet10t", image_size=32), 64)
    learned = sum(p.numel() for p in Clip.build(settings, Context(tower=tower)).parameters())
    sizes = [
        "clip.embed_dim=64",
        f"clip.text={{{', '.join(f'{k}: {v}' for k, v in text.model_dump().items())}}}",
    ]
    assert dry("clip-demo", 1, *sizes).parameters == learned


# What the run would be refused for. The machine of these tests shows no GPU, or not 4,096 of them.


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (["--data", "nowhere.tar"], 3),
        (["--data", "empty"], 3),
        (["--vocab", "nowhere.json"], 3),
        (["--image-key", "tiff"], 3),
        (["--out", "full"], 2),
        (["--gpus", "1", "--processes", "2"], 2),
        (["--set", "vocabulary.extractor=subword"], 2),  # the vocabulary's is another
    ],
)
def test_a_dry_run_fails_as_the_run_does(
    changes: list[str], code: int, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(document))
    app = typer.Typer()
    app.command()(pretrain)
    runs = [CliRunner().invoke(app, ["tiny.yaml", *changes, *dry]) for dry in (["--dry-run"], [])]
    assert [run.exit_code for run in runs] == [code, code]
    errors = [[line for line in run.stderr.splitlines() if line.startswith("error:")] for run in runs]
    assert errors[0] == errors[1] != []
    assert "This run would be refused here:" in runs[0].stdout


def test_what_another_machine_would_mend_is_listed_and_no_error() -> None:
    found = dry("catlip-datacomp-vit-b16", 4096)
    assert [(row.exit_code, row.elsewhere) for row in found.refusals] == [(5, True), (2, True)]
    assert "4096" in found.refusals[0].message
    assert found.refused() is None


def test_more_processes_than_images_are_refused(recipe: PretrainRecipe) -> None:
    (refusal,) = dry_run(plainly(recipe), Place(processes=11)).refusals
    with pytest.raises(UsageError) as refused:
        recipe.must_share_out(32, 11)
    assert (refusal.message, refusal.exit_code) == (refused.value.message, 2)


def test_a_run_without_fault_is_not_refused_and_its_epochs_are_counted(recipe: PretrainRecipe) -> None:
    found = dry_run(plainly(recipe.model_copy(update={"length": Length(epochs=2.5)})), Place(processes=1))
    assert found.refusals == []
    assert found.images == 150  # of 60 pairs
    assert found.vocabulary_size == 10


def test_more_workers_than_cores_are_told(recipe: PretrainRecipe) -> None:
    cores = os.cpu_count() or 1
    for workers, told in (
        (cores, []),
        (cores + 1, [f"data.workers: {cores + 1} workers share {cores} cores"]),
    ):
        changed = recipe.model_copy(update={"data": recipe.data.model_copy(update={"workers": workers})})
        found = dry_run(plainly(changed), Place(processes=1))
        assert [warning for warning in found.warnings if warning.startswith("data.workers")] == told


def test_time_is_that_of_the_operations_at_the_stated_share_of_a_speed() -> None:
    found = dry("catlip-datacomp-vit-b16", 4096)
    assert found.flops is not None
    assert found.device_flops == 4096 * 989e12
    assert found.seconds == pytest.approx(found.flops / (4096 * 989e12 * 0.4))


def test_a_probe_takes_three_real_steps_and_leaves_nothing(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = dry_run(plainly(recipe), Place(processes=1), probed=True)
    assert found.probe is not None
    assert found.probe.images == 10
    assert found.probe.images_per_second == pytest.approx(10_000 / found.probe.milliseconds, rel=0.01)
    assert found.probe.peak_memory_bytes <= psutil.Process().memory_info().rss * 2
    # Eight steps of the same size.
    assert found.seconds == pytest.approx(8 * found.probe.milliseconds / 1000)
    assert list(tmp_path.iterdir()) == []


def test_memory_that_this_machine_has_not_is_told_in_units() -> None:
    has = psutil.virtual_memory().total
    (warning,) = cost.shortages({"weights": 2 * has}, 0, 1, Devices(1, cpu=True), "workers")
    needed, there = (f"{size / 2**30:,.1f} GiB" for size in (2 * has, has))
    assert f"needs about {needed}, and this machine has {there}: " in warning


@pytest.mark.parametrize(("max_size", "classes"), [(7, 7), (None, 2)])
def test_a_probe_counts_no_vocabulary(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, max_size: int | None, classes: int
) -> None:
    monkeypatch.setattr(vocabulary, "build", lambda *_, **__: pytest.fail("the vocabulary was counted"))
    uncounted = PretrainRecipe.model_validate({**document, "vocabulary": {"max_size": max_size}})
    found = dry_run(plainly(uncounted), Place(processes=1), probed=True)
    assert found.probe is not None
    assert found.probe.stand_ins == classes
    assert found.vocabulary_size == max_size


def test_a_probe_has_the_runs_own_classes(recipe: PretrainRecipe, tmp_path: Path) -> None:
    run, uncounted = tmp_path / "run", recipe.model_copy(update={"vocabulary": VocabularySettings()})
    run.mkdir()
    shutil.copy(str(recipe.vocabulary.path), run / "vocabulary.json")
    found = dry_run(plainly(uncounted), Place(processes=1, out=run, resume=True), probed=True)
    assert found.probe is not None
    assert (found.vocabulary_size, found.probe.stand_ins) == (10, None)


MEASURE = """
import sys, torch
from catlipctl.data.batch import Batch, Step
from catlipctl.pretraining.assembly import make_objective
from catlipctl.recipe import load
from catlipctl.results import high_water
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import Learner
from catlipctl.training.world import World

torch.set_num_threads(1)
recipe = load(PretrainRecipe, None, sys.argv[1:]).value
rows, size = recipe.global_batch_size, recipe.model.image_size
world = World(cpu=True)
before = high_water()
learner = Learner(
    make_objective(recipe, 1000, lambda _: [], 2),
    recipe.optimiser,
    world,
    precision=world.precision(recipe.precision),
    **recipe.learner_options(2),
)
batch = Batch(
    step=Step(0, size, rows, 0),
    images=torch.randint(0, 255, (rows, 3, size, size), dtype=torch.uint8),
    targets={"classes": torch.arange(2 * rows), "counts": torch.full((rows,), 2)},
    positions=torch.arange(rows),
    samples=torch.arange(rows),
    counted=rows,
)
for _ in range(2):
    learner.step(batch.step, [batch], 1e-3)
print(high_water() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["model={name: vit_tiny_patch16_224}", "global_batch_size=24", "ema.momentum=fit"],
        ["model={name: resnet18, image_size: 192}", "global_batch_size=24"],
    ],
)
def test_memory_is_what_training_takes(settings: list[str]) -> None:
    arguments = [*settings, "length.steps=2"]
    recipe = load(PretrainRecipe, None, arguments).value
    step = cost.Pieces(recipe.model.image_size, recipe.global_batch_size, 1, 1, 2)
    told = cost.memory(recipe, 1000, step, Devices(1, cpu=True))
    assert told is not None
    # Large blocks go back to the system when they are free, as they do on a GPU; glibc's heap keeps them.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144"}
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert sum(told.values()) - told["libraries"] == pytest.approx(int(ran.stdout), rel=0.25)


def plainly(recipe: PretrainRecipe) -> Loaded[PretrainRecipe]:
    """A recipe as if all of it were written."""
    return Loaded(recipe, {key: "test" for key, _ in leaves(recipe)})


def test_who_trains_after_a_rehearsal_has_numbers() -> None:
    model = ModelSettings(name="vit_tiny_patch16_224", image_size=32, model_args={"depth": 1})
    recipe = PretrainRecipe(model=model, global_batch_size=2, length=Length(steps=1))
    assert cost.memory(recipe, 8, cost.Pieces(32, 2, 1, 1, 1), Devices(1, cpu=True)) is not None
    # timm's statistics of this tower: 0.5 and 0.5.
    prepared = models.create(model, 8, [32]).preprocessing.prepared(
        torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    )
    assert prepared.flatten().tolist() == [-1, -1, -1]
