"""The README's commands, run as they are written."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from typer.testing import CliRunner

from catlipctl import checkpoints
from catlipctl.cli.main import app
from catlipctl.models import create
from catlipctl.settings.models import ModelSettings

README = Path(__file__).parents[1] / "README.md"
SIZE = 32


def commands(section: str) -> list[list[str]]:
    """The arguments of each command in the first block of that section."""
    text = README.read_text(encoding="utf-8").split(f"## {section}\n")[1]
    block = re.split(r"```\w*\n", text)[1]
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.strip()]


@pytest.fixture
def _photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """my-classes/ with 12 images of each of two classes, and holiday/ with one of each."""
    monkeypatch.chdir(tmp_path)
    for name, colour in (("cat", (200, 30, 30)), ("dog", (30, 30, 200))):
        for number in range(12):
            path = Path("my-classes") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (40, 36), colour)
            image.putpixel((number, number), (255, 255, 255))
            image.save(path)
        Path("holiday").mkdir(exist_ok=True)
        shutil.copy(path, Path("holiday") / f"{name}.png")


@pytest.mark.usefixtures("_photographs")
@pytest.mark.parametrize("start", ["a run", "timm"])
def test_from_class_folders_to_a_classifier(start: str) -> None:
    torch.manual_seed(0)
    further: list[str] = []
    if start == "a run":
        tower = create(ModelSettings(name="resnet10t", image_size=SIZE), num_classes=3)
        checkpoints.write_step(Path("runs/mine"), 1, tower=tower, config={}, label_names=["a", "b", "c"])
    else:
        model = timm.create_model("resnet10t", pretrained=False, num_classes=3)
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, SIZE, SIZE), "crop_pct": 1.0}
        timm.models.save_for_hf(model, "from-timm", safe_serialization=True)
        further = ["--checkpoint", "timm:local-dir:from-timm"]
    probe, tune, predict = commands("Labelled photographs, from class folders to a classifier")
    for words, kept in ((probe, "my-probe"), (tune, "my-classifier")):
        done = CliRunner().invoke(app, [*words, *further])
        assert done.exit_code == 0, done.output
        assert "top-1 accuracy" in done.stdout
        result = json.loads((Path(kept) / "result.json").read_text())
        assert result["classes"] == 2
        assert result["test_images"] == 4
    for checkpoint in ("my-probe", "my-classifier"):
        words = [checkpoint if word == "my-classifier" else word for word in predict]
        done = CliRunner().invoke(app, [*words, "--json"])
        assert done.exit_code == 0, done.output
        images = json.loads(done.stdout)["result"]["images"]
        assert {label["label"] for image in images for label in image["labels"]} == {"cat", "dog"}
