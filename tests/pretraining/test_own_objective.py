"""Objectives that the tests of others do not run from end to end: superclass, and one of a person's own."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from catlipctl import checkpoints
from catlipctl.cli.main import app
from catlipctl.errors import UsageError
from catlipctl.pretraining import pretrain
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.report import read_metrics

PACKAGE = """
import torch
from torch.nn import functional as F

from catlipctl.objectives import LabelCollate, Objective, Output

class Brightness(Objective):
    needs_classes = False

    def __init__(self, scale, context):
        super().__init__(context)
        self.scale = scale
        self.collate = LabelCollate(lambda sample: [])

    @classmethod
    def build(cls, settings, context):
        return cls(settings["scale"], context)

    @staticmethod
    def head_size(settings, classes):
        return 1

    def forward(self, batch):
        images, _ = self.pixels(batch)
        loss = F.mse_loss(self.model(images)[:, 0], self.scale * images.mean((1, 2, 3)))
        return Output(loss, {})


class Unfinished(Objective):
    pass


nothing = 7
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]) -> dict[str, Any]:
    """A recipe of an objective in a small package beside catlipctl."""
    (tmp_path / "brightly").mkdir()
    (tmp_path / "brightly" / "__init__.py").write_text("")
    (tmp_path / "brightly" / "objective.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = {"objective": "brightly.objective:Brightness", "objective_args": {"scale": 2.0}, "vocabulary": {}}
    return {**document, **asked, "length": {"steps": 6}, "optimiser": {"lr": 1e-2}}


def test_a_recipe_names_an_objective_of_its_own(own: dict[str, Any], tmp_path: Path) -> None:
    """It learns, its arguments are the run's, and other ones are told on resuming."""
    run = tmp_path / "run"
    found = pretrain(PretrainRecipe.model_validate(own), out=run)
    assert found.vocabulary_size is None
    losses = [row["loss"] for row in read_metrics(run / "metrics.jsonl")]
    assert losses[-1] < losses[0] / 2
    kept = yaml.safe_load((run / "recipe.yaml").read_text())
    assert (kept["objective"], kept["objective_args"]) == ("brightly.objective:Brightness", {"scale": 2.0})
    assert checkpoints.load(run).config["objective"] == "brightly.objective:Brightness"
    other = PretrainRecipe.model_validate({**own, "objective_args": {"scale": 3.0}})
    with pytest.raises(UsageError, match=r"objective_args: {'scale': 2\.0} in .*, {'scale': 3\.0} now"):
        pretrain(other, out=run, resume=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere.objective:Brightness", "cannot be imported: No module named 'nowhere'"),
        ("brightly.objective:Darkness", "cannot be imported: module .* has no attribute 'Darkness'"),
        ("brightly.objective:nothing", "is no objective"),
        ("brightly.objective:Unfinished", "is no objective"),
    ],
)
def test_what_is_no_objective_is_refused_before_data_is_opened(
    own: dict[str, Any], tmp_path: Path, name: str, says: str
) -> None:
    recipe = PretrainRecipe.model_validate({**own, "objective": name, "data": {"sources": ["gone.tar"]}})
    with pytest.raises(UsageError, match=says):
        pretrain(recipe, out=tmp_path / "run")


def test_a_small_superclass_learns_and_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the commands, on the demo's pairs."""
    monkeypatch.chdir(tmp_path)
    recipe = {
        "model": {
            "name": "vit_base_patch16_superclass_224",
            "image_size": 32,
            "model_args": {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 8},
        },
        "data": {"sources": ["emoji:pairs"]},
        "objective": "superclass",
        "global_batch_size": 32,
        "length": {"steps": 12},
        "optimiser": {"lr": 1e-2},
        "log_every": 1,
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(recipe))
    run = CliRunner().invoke(app, ["pretrain", "tiny.yaml", "--out", "run", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)["result"]
    assert found["vocabulary_size"] == 49_408
    assert found["final_loss"] < found["first_loss"] - 0.3
    told = ["eval", "lp", "--checkpoint", "run", "--data", "emoji:transfer", "--json"]
    probed = CliRunner().invoke(app, told)
    assert probed.exit_code == 0, probed.output
    named = CliRunner().invoke(app, ["predict", "--checkpoint", "run", *_pictures(tmp_path), "--json"])
    assert named.exit_code == 0, named.output
    assert json.loads(named.stdout)["result"]["probabilities"] == "softmax"


def _pictures(folder: Path) -> list[str]:
    from PIL import Image

    Image.new("RGB", (32, 32), "red").save(folder / "red.png")
    return [str(folder / "red.png")]
