"""Rows in TensorBoard and wandb, as these read them back; and a tracker that cannot be written."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState
from pydantic import BaseModel

from catlipctl.errors import MachineError
from catlipctl.progress import Silent
from catlipctl.training import tracking
from catlipctl.training.tracking import Trackers


class Optimiser(BaseModel):
    lr: float = 0.5


class Recipe(BaseModel):
    """A recipe of few keys."""

    sources: list[str] = ["a.tar"]
    length: None = None
    optimiser: Optimiser = Optimiser()


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(autouse=True)
def _one_process() -> None:
    """As a run's `World` has it: Accelerate's trackers ask it who they are."""
    PartialState(cpu=True)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that TensorBoard's own reader finds."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_has_each_step_once_also_where_a_run_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    heard = Heard()
    for first, last, begun in ((1, 5, 0), (4, 6, 3)):  # the second goes on from a checkpoint of step 3
        trackers = Trackers(["tensorboard"], tmp_path, heard)
        with trackers.tracking(Recipe(), begun):
            for step in range(first, last + 1):
                row = {"step": step, "loss": 10 * begun + 1 / step, "mfu": None, "weights": "raw"}
                trackers.log(row, step)
            trackers.log({"loss": 7.0}, last, "validation/")
    found = scalars(tmp_path / "tensorboard")
    assert found.keys() == {"step", "loss", "validation/loss"}
    wanted = [(step, (0 if step < 4 else 30) + 1 / step) for step in range(1, 7)]
    assert found["loss"] == [(step, pytest.approx(value)) for step, value in wanted]
    assert found["validation/loss"] == [(6, 7.0)]
    assert heard.warnings == []
    (told,) = (tmp_path / "tensorboard").glob("*/hparams.yml")
    assert "optimiser.lr: 0.5" in told.read_text()
    assert "sources: '[''a.tar'']'" in told.read_text()


def test_a_tracker_that_cannot_be_written_is_told_of_once_and_stops_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where the folder is to be")
    heard = Heard()
    trackers = Trackers(["tensorboard"], tmp_path, heard)
    with trackers.tracking(Recipe(), 0):
        for step in (1, 2, 3):
            trackers.log({"loss": 1.0}, step)
    (warning,) = heard.warnings
    assert warning.startswith("tensorboard gets no more of this run: ")


def test_a_tracker_that_is_not_installed_is_refused_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MachineError, match="wandb cannot be loaded") as refused:
        tracking.check(["wandb"])
    assert refused.value.exit_code == 5
    assert "pip install wandb" in refused.value.hint
    tracking.check([])


def test_wandb_goes_on_with_the_same_run_and_one_that_fails_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb: Any = pytest.importorskip("wandb", reason="wandb is not installed: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    heard = Heard()
    identities = []
    for first, begun in ((1, 0), (3, 2)):
        trackers = Trackers(["wandb"], tmp_path, heard)
        with trackers.tracking(Recipe(), begun):
            identities.append(wandb.run.id)
            assert wandb.run.config["optimiser.lr"] == 0.5
            trackers.log({"loss": 0.5}, first)
            trackers.log({"loss": 0.25}, first + 1)
            assert wandb.run.step == first + 1
            if begun:
                wandb.run.finish()  # behind our back
                trackers.log({"loss": 0.1}, first + 2)
    assert identities == [(tmp_path / "wandb" / "id").read_text()] * 2
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{identities[0]}/*.wandb"))) == 2
    assert len(heard.warnings) == 1
    assert json.dumps(heard.warnings).startswith('["wandb gets no more of this run')
