"""`catlipctl predict` as a user types it."""

import json
import os
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from catlipctl import checkpoints, models
from catlipctl.cli.predict import predict
from catlipctl.settings.models import ModelSettings

app = typer.Typer()
app.command()(predict)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name="resnet10t", image_size=32), num_classes=2)
    checkpoints.write(tmp_path / "classifier", tower=tower, config={}, label_names=["cat", "dog"])
    Image.new("L", (50, 40)).save("grey.png")
    Path("broken.png").write_bytes(b"nothing")


def test_one_readable_image_is_enough() -> None:
    result = CliRunner().invoke(app, ["grey.png", "broken.png", "--checkpoint", "classifier"])
    assert result.exit_code == 0, result.output
    assert "warning: broken.png: not an image" in result.stderr
    assert "grey.png" in result.stdout
    assert "dog" in result.stdout
    document = CliRunner().invoke(app, ["grey.png", "broken.png", "--checkpoint", "classifier", "--json"])
    images = json.loads(document.stdout)["result"]["images"]
    assert len(images[0]["labels"]) == 2
    assert images[1]["fault"].startswith("broken.png: not an image")


def test_the_table_names_its_probabilities_and_never_folds_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "a_photograph_of_something_" * 3
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Image.new("L", (50, 40)).save(f"{folder}/same.png")
        Image.new("L", (50, 40)).save(f"{folder}/{folder}_{long}.png")
    result = CliRunner().invoke(app, ["one", "two", "--checkpoint", "classifier", "--top", "1"])
    assert result.exit_code == 0, result.output
    assert "probability (sigmoid)" in result.stdout or "probability (softmax)" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines() if ".png" in line] == [
        f"one_a_phot…{long[-16:]}.png",
        "one/same.png",
        "two/same.png",
        f"two_a_phot…{long[-16:]}.png",
    ]


def test_folders_and_patterns_give_every_picture_that_can_be_read() -> None:
    for name in ("a.png", "trip/day 1/a.tiff", "trip/day 2/a.avif", "trip/day 2/b.WEBP", "trip/c.jp2"):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), "red").save(Path("photos", name))
    for name in ("notes.md", "trip/a.mov", "trip/b.mov", ".hidden.png"):
        Path("photos", name).write_text("no image")

    def names(*arguments: str) -> tuple[list[str], str]:
        done = CliRunner().invoke(app, [*arguments, "--checkpoint", "classifier", "--json"])
        assert done.exit_code == 0, done.output
        return [image["name"] for image in json.loads(done.stdout)["result"]["images"]], done.stderr

    everything = ["a.png", "trip/c.jp2", "trip/day 1/a.tiff", "trip/day 2/a.avif", "trip/day 2/b.WEBP"]
    found, said = names("photos")
    assert (found, "skipped files that are not images by their names: 2 .mov, 1 .md" in said) == (
        everything,
        True,
    )
    assert names("photos/**/*.*")[0] == everything
    assert names("photos/trip/*/*.{tiff,avif}")[0] == ["day 1/a.tiff", "day 2/a.avif"]
    # Named as two folders, two pictures would share a name; a file twice is one.
    assert names("photos/trip/day 2", "grey.png", "photos/a.png", "photos/trip/day 2/b.WEBP")[0] == (
        ["a.avif", "b.WEBP", "grey.png", "a.png"]
    )
    assert names("photos", "photos/trip/day 1", "./grey.png")[0][-1] == "grey.png"
    Image.new("RGB", (50, 40)).save("a.png")
    assert names("photos", "a.png")[0] == ["photos/a.png", *everything[1:], "a.png"]
    Path(os.fsdecode(b"caf\xe9.png")).write_bytes(Path("a.png").read_bytes())
    assert names("caf*.png")[0] == ["caf\ufffd.png"]
    none = CliRunner().invoke(app, ["photos/*.gif", "--checkpoint", "classifier"])
    assert none.exit_code == 3
    assert "nothing matches photos/*.gif" in none.stderr


def test_no_readable_image_and_no_checkpoint() -> None:
    none = CliRunner().invoke(app, ["broken.png", "missing.png", "--checkpoint", "classifier", "--json"])
    assert none.exit_code == 3
    message = json.loads(none.stdout)["error"]["message"]
    assert "broken.png" in message
    assert "missing.png" in message
    assert CliRunner().invoke(app, ["grey.png"]).exit_code == 4
