"""Recipes of `eval ft` and the paper's linear probe, as a user types them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from catlipctl import checkpoints, models
from catlipctl.cli.evaluation import fine_tune, linear_probe
from catlipctl.settings.models import ModelSettings

app = typer.Typer()
app.command("lp")(linear_probe)
app.command("ft")(fine_tune)

VIT = {"embed_dim": 24, "depth": 1, "num_heads": 2}
FEW = ["--set", "length.epochs=4", "--set", "global_batch_size=4"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/{train,val}/{dark,light} with 12 and 6 images each, and a tower of 32 px."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    for split, count in (("train", 12), ("val", 6)):
        for name, shade in (("dark", 30), ("light", 220)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40, 40), (shade + i, shade, shade)).save(folder / f"{i}.png")
    torch.manual_seed(0)
    settings = ModelSettings(name="vit_tiny_patch16_224", image_size=32, model_args=VIT)
    checkpoints.write(Path("vit"), tower=models.create(settings, num_classes=3), config={})
    return tmp_path


def answered(*arguments: str, code: int = 0) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    document = json.loads(result.stdout)
    return dict(document["result"] if code == 0 else document["error"])


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(checkpoints.resolve(run) / "model.safetensors")


def test_a_dry_run_of_a_papers_recipe_needs_neither_data_nor_weights() -> None:
    found = answered("ft", "in1k-ft", "--checkpoint", "timm:test_vit.r160_in1k", "--dry-run")
    values = {row["key"]: [row["value"], row["origin"]] for row in found["values"]}
    assert values["optimiser.lr"][0] == 3e-5
    assert values["optimiser.lr"][1].endswith("recipes/in1k-ft.yaml")
    assert values["checkpoint"] == ["timm:test_vit.r160_in1k", "--checkpoint"]
    assert [row["size"] for row in found["sizes"]] == [128, 160, 192, 224, 256, 288, 320]
    # Ten epochs of ImageNet-1k, each step of as many pixels as 128 images of 224 px have.
    assert found["images"] == pytest.approx(10 * 1_281_167, rel=1e-4)
    assert {row["size"]: row["images"] for row in found["sizes"]} == {
        size: int(round(224**2 * 128 / size**2, 2)) for size in (128, 160, 192, 224, 256, 288, 320)
    }
    assert sum(row["steps"] for row in found["sizes"]) == found["steps"]
    settings = ModelSettings(name="test_vit", image_size=160)
    (forward,) = models.counts(settings, 1000, [160]).flops.values()
    at_own_size = next(row for row in found["sizes"] if row["size"] == 160)
    assert at_own_size["flops_per_image"] == forward
    total = sum(row["steps"] * row["images"] * row["flops_per_image"] for row in found["sizes"])
    assert found["flops"] == 3 * total
    assert found["vocabulary_size"] == 1000
    assert any("1,281,167" in warning for warning in found["warnings"])
    assert [refusal["message"] for refusal in found["refusals"]] == ["no labelled images are named"]

    probe = answered("ft", "in1k-lp", "--checkpoint", "timm:test_vit.r160_in1k", "--dry-run")
    assert probe["learned_parameters"] == 1000 * 65
    once = sum(row["steps"] * row["images"] * row["flops_per_image"] for row in probe["sizes"])
    assert probe["flops"] == once
    assert probe["checkpoint_bytes"] == 4 * (probe["parameters"] + 2 * probe["learned_parameters"])
    assert not Path("runs").exists()


def test_a_dry_run_with_data_is_of_these_and_refuses_what_the_run_refuses() -> None:
    arguments = ["ft", "vit", "--data", "photos", "--set", "global_batch_size=5", "--set", "length.epochs=2"]
    found = answered(*arguments, "--train-size", "50%", "--rows", "calibrated", "--dry-run")
    assert {"key": "rows", "value": "calibrated", "origin": "--rows"} in found["values"]
    assert (found["steps"], found["images"], found["vocabulary_size"]) == (math.ceil(24 / 5), 25, 2)
    assert found["refusals"] == []
    error = answered(*arguments, "--target", "cifar10", "--dry-run", code=3)
    assert "are not labels of cifar10" in error["message"]
    assert not list(Path("vit").rglob("recipe.yaml"))


def test_a_recipe_of_ones_own_names_its_data_and_goes_on() -> None:
    Path("mine.yaml").write_text(
        "sources: [photos]\nlayer_decay: 0.5\nlength: {epochs: 2}\nglobal_batch_size: 12\n"
        "image_size: 48\nrange_augment: {}\nema: {momentum: fit}\nsizes: {min: 32, max: 64, scales: 3}\n"
    )
    found = answered("ft", "mine.yaml", "vit", "--out", "ft", "--set", "layer_decay=0.7")
    assert (found["recipe"]["layer_decay"], found["recipe"]["image_size"]) == (0.7, 48)
    assert found["train_images"] == 24
    # The same line goes on, and a complete run is told again.
    again = answered("ft", "mine.yaml", "vit", "--out", "ft", "--set", "layer_decay=0.7", "--resume")
    assert again["steps"] == found["steps"]
    # Another run by the same seed is the same to the last digit; by another it is not.
    answered("ft", "mine.yaml", "vit", "--out", "second", "--set", "layer_decay=0.7")
    answered("ft", "mine.yaml", "vit", "--out", "other", "--set", "layer_decay=0.7", "--set", "seed=1")
    first, second, other = (weights(run) for run in ("ft", "second", "other"))
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert any(not torch.equal(other[name], value) for name, value in first.items())


def test_the_papers_probe_leaves_the_tower_and_says_its_protocol() -> None:
    arguments = ["lp", "vit", "--data", "photos", "--protocol", "paper", "--set", "length.epochs=100"]
    arguments += ["--set", "optimiser.lr=0.01"]
    found = answered(*arguments, "--set", "global_batch_size=24")
    assert found["protocol"].startswith("linear probe, paper: ")
    assert "100 epochs, batch 24, lr 0.01" in found["protocol"]
    assert found["run"] == "eval/lp-paper-photos"
    assert (found["acc1"], found["random_backbone"], found["train_size"]) == (1, False, "100%")
    recipe = found["recipe"]
    # All else is Table 7a's, but for what this machine and a tower of 32 px change.
    assert (recipe["schedule"]["min_lr"], recipe["optimiser"]["weight_decay"]) == (1e-6, 0)
    assert (recipe["image_size"], recipe["sizes"], recipe["precision"]) == (None, None, "auto")
    before, after = weights("vit"), weights(found["run"])
    changed = {name for name, value in after.items() if not torch.equal(value, before.get(name, value[:0]))}
    assert changed == {"head.weight", "head.bias"}
    fast = answered("lp", "vit", "--data", "photos")
    assert fast["protocol"] != found["protocol"]

    mae = answered("lp", "vit", "--data", "photos", "--protocol", "mae", "--set", "global_batch_size=24")
    assert mae["protocol"].startswith("linear probe, mae: ")
    assert "90 epochs, batch 24, lr 0.009375" in mae["protocol"]
    assert (mae["run"], mae["init"]) == ("eval/lp-mae-photos", "random")

    drawn = ["lp", "vit", "--data", "photos", "--train-size", "2/class,100%", "--init", "transfer,random"]
    drawn += ["--protocol", "fast,paper,mae", "--out", "curve", *FEW]
    lines = answered(*drawn)["by_train_size"]
    # No row of the tower's fits: there is no line of init transfer.
    assert sorted((line["protocol"], line["train_size"], line["init"]) for line in lines) == [
        (name, size, "random") for name in ("fast", "mae", "paper") for size in ("100%", "2/class")
    ]
    written = {path: path.stat().st_mtime_ns for path in Path("curve/runs").rglob("*.safetensors")}
    again = answered(*drawn)
    assert (again["by_train_size"], again["reused"]) == (lines, 6)
    assert {path: path.stat().st_mtime_ns for path in Path("curve/runs").rglob("*.safetensors")} == written
    changed = answered(*drawn, "--set", "length.epochs=5", code=2)
    assert "was made by another recipe" in changed["message"]
    # A point is what the command alone gives by the same seed.
    alone = answered(*drawn[:4], "--train-size", "2/class", "--protocol", "paper", "--init", "random", *FEW)
    point = next(line for line in lines if (line["protocol"], line["train_size"]) == ("paper", "2/class"))
    assert point["acc1"] == alone["acc1"]

    control = answered(*arguments[:-2], "--random-backbone", "--train-size", "2/class", "--set", "seed=3")
    assert (control["random_backbone"], control["train_images"], control["seed"]) == (True, 4, 3)
    assert control["run"] == "eval/lp-paper-photos-untrained"
    untrained = weights(control["run"])
    assert not torch.equal(untrained["blocks.0.attn.qkv.weight"], before["blocks.0.attn.qkv.weight"])


def test_numbers_of_several_labels_are_rows_of_the_target() -> None:
    """As ADE20k's photographs have them, from 1 on; a probe and a fine-tune tell mean average precision."""
    Path("set.tsv").write_text("dark\tn14493145\nlight\tn11473954\nboth\t\n")
    for split in ("train", "val"):
        rows = [
            {"filepath": str(path), "present": [1 + (path.parent.name == "light"), 3][: 1 + number % 2]}
            for number, path in enumerate(sorted(Path("photos", split).rglob("*.png")))
        ]
        Path(f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = ["--data", "train.jsonl", "--test", "val.jsonl", "--label-key", "present"]
    target = ["--target", "set.tsv", "--label-base", "1"]
    probed = answered("lp", "vit", *data, *target)
    tuned = answered("ft", "vit", *data, *target, "--set", "length.steps=2")
    for found in (probed, tuned):
        assert [one["label"] for one in found["per_class"]] == ["dark", "light", "both"]
        assert found["labels_per_image"] == 1.5
        assert found["protocol"].startswith("multi-label ")
    result = CliRunner().invoke(app, ["lp", "vit", *data, *target])
    assert "macro mAP of chance" in result.stdout
    error = answered("lp", "vit", *data, *target, "--exclusive", code=3)
    assert "images have several labels" in error["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ft", "in1k-tf", "--data", "photos"], "did you mean in1k-ft?"),
        (["ft", "in1k-ft", "in1k-lp", "--data", "photos"], "in1k-lp is one word too many"),
        (["ft", "vit"], "no labelled images are named"),
        (["ft", "demo", "vit", "--data", "photos"], "model: unknown key"),
        (["lp", "vit", "--data", "photos", "--set", "seed=1"], "--set with --protocol fast"),
        (["ft", "vit", "--data", "photos", "--train-size", "few"], "train_size"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert not list(Path().rglob("recipe.yaml"))
