"""`catlipctl eval lp` as a user types it: from class folders to a saved classifier."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from catlipctl import checkpoints, models
from catlipctl.cli.evaluate import linear_probe
from catlipctl.cli.predict import predict

app = typer.Typer()
app.command("lp")(linear_probe)
app.command("predict")(predict)


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/{train,val}/{dark,light}, one of them broken, and a tower without a vocabulary."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for name, shade in (("dark", 30), ("light", 220)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.new("RGB", (40, 40), (shade + i, shade, shade)).save(folder / f"{i}.png")
    (tmp_path / "photos" / "val" / "dark" / "broken.png").write_bytes(b"\x89PNG nothing")
    torch.manual_seed(0)
    model = models.create(models.ModelSettings(name="resnet10t", image_size=32), num_classes=3)
    checkpoints.write(tmp_path / "tower", model=model, config={})
    return tmp_path / "photos"


def test_from_photos_to_predictions() -> None:
    result = CliRunner().invoke(app, ["lp", "timm:local-dir:tower", "--data", "photos", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    assert found["acc1"] == 1
    assert (found["train_images"], found["test_images"], found["unreadable"]) == (12, 12, 1)
    assert found["prior"] == {}
    assert json.loads((Path(found["checkpoint"]) / "result.json").read_text())["acc1"] == 1
    answer = CliRunner().invoke(
        app, ["predict", "photos/val/dark", "--checkpoint", found["checkpoint"], "--top", "1", "--json"]
    )
    assert answer.exit_code == 0, answer.output
    predicted = json.loads(answer.stdout)["result"]
    assert [image["labels"][0]["label"] for image in predicted["images"] if not image["fault"]] == [
        "dark"
    ] * 6
    assert predicted["unreadable"] == 1


def test_a_table_and_what_comes_next_and_nothing_overwritten() -> None:
    for number in (1, 2):
        result = CliRunner().invoke(
            app, ["lp", "tower", "--data", "photos/train", "--train-size", "2/class", "--random-backbone"]
        )
        assert result.exit_code == 0, result.output
        assert f"eval/lp-photos-{number}" in result.stdout
        assert "the images of photos/val" in result.stdout
    assert "catlipctl predict IMAGE... --checkpoint" in result.stdout
    shutil.copytree("photos/train", "alone/train")
    result = CliRunner().invoke(app, ["lp", "tower", "--data", "alone/train"])
    assert "20% of each class held out" in result.stdout


def test_the_data_are_looked_at_before_the_checkpoint_is_loaded() -> None:
    result = CliRunner().invoke(app, ["lp", "timm:no-such-model", "--data", "nowhere"])
    assert result.exit_code == 3
    assert "nowhere" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--data", "photos", "--train-size", "lots"], 2),
        (["--data", "nowhere"], 3),
        (["--data", "photos", "--target", "cifar10"], 3),
        (["--data", "photos/train/dark"], 3),
    ],
)
def test_faults_have_their_exit_codes(arguments: list[str], code: int) -> None:
    result = CliRunner().invoke(app, ["lp", "tower", *arguments])
    assert result.exit_code == code, result.output
    assert "error:" in result.stderr
    assert "hint:" in result.stderr
