"""NaN that really comes, on one process of two: skipped, then the end of the run; and replayed by one."""

import json
import math
import os
import re
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from catlipctl.cli.runs.replay import replay as command
from catlipctl.data.batch import Batch
from catlipctl.errors import CatlipctlError, CheckpointError, DataError, NonFiniteLoss, UsageError
from catlipctl.objectives import OBJECTIVES, Catlip, Output
from catlipctl.pretraining import pretrain, replay
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import capture
from catlipctl.training.report import read_metrics

BAD_STEPS = (1, 3, 4, 6, 7, 8)
"""From 0: once, twice in a row, three times."""
BAD_ROW = 7
"""Of each bad step's ten: the second process has it, in the second of its pieces of three."""

app = typer.Typer()
app.command("replay")(command)


class Fragile(nn.Module):
    """Breaks some rows of what goes through it. Without weights: a tower with it is saved as any other."""

    rows: tuple[int, ...] = ()

    def forward(self, tokens: Tensor) -> Tensor:
        broken = torch.zeros(len(tokens), 1, 1)
        broken[list(self.rows)] = math.inf
        return tokens + broken


class Breaking(Catlip):
    """Inside its tower one image becomes infinite."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.model.norm_pre = Fragile()

    def forward(self, batch: Batch) -> Output:
        rows = (batch.positions - batch.step.start).tolist()
        bad = batch.step.index in BAD_STEPS and batch.counted and BAD_ROW in rows
        self.model.norm_pre.rows = (rows.index(BAD_ROW),) if bad else ()
        return super().forward(batch)


class Steep(Catlip):
    """Its loss is finite, its gradient is not: the derivative of a root at 0."""

    def forward(self, batch: Batch) -> Output:
        output = super().forward(batch)
        return output._replace(loss=output.loss + (output.loss * 0).sqrt())


class Vast(Catlip):
    """Each of its gradients is finite, their squares are not."""

    def forward(self, batch: Batch) -> Output:
        output = super().forward(batch)
        return output._replace(loss=output.loss + 1e25 * (output.loss - output.loss.detach()))


@pytest.fixture
def ended(document: dict[str, Any], tmp_path: Path, in_processes: Callable[..., list[int]]) -> Path:
    """A folder with what two processes left: `run`, and each one's weights."""
    document = {**document, "length": {"steps": 12}, "device_batch_size": 3, "ema": {"momentum": 0.2}}
    (tmp_path / "recipe.json").write_text(json.dumps(document))
    assert in_processes(__file__, tmp_path) == [6, 6]
    return tmp_path


def worker(folder: Path) -> int:
    torch.set_num_threads(1)
    made: list[Breaking] = []

    class Kept(Breaking):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    OBJECTIVES["catlip"] = Kept
    recipe = PretrainRecipe.model_validate_json((folder / "recipe.json").read_text())
    try:
        pretrain(recipe, out=folder / "run", cpu=True)
    except CatlipctlError as error:  # a process may hear of it from the other first
        weights = {name: value.clone() for name, value in made[0].state_dict().items()}
        save_file(weights, folder / f"{os.environ['RANK']}.safetensors")
        return error.exit_code
    return 0


def test_nan_on_one_process_of_two_is_skipped_by_both_then_captured_and_shown_again(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended / "run"
    recorded = json.loads((run / "exit.json").read_text())
    assert recorded["exit_code"] == 6
    assert f"catlipctl runs replay {run}" in recorded["hint"]
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["skipped"] for row in rows] == [0, 1, 1, 2, 3, 3, 4, 5, 6]
    assert all((row["loss"] is None) == (row["step"] - 1 in BAD_STEPS) for row in rows)

    one, other = (load_file(ended / f"{rank}.safetensors") for rank in range(2))
    state = load_file(run / "checkpoints" / "step-00000009" / "state" / "state.safetensors")
    for name, value in one.items():
        assert value.isfinite().all(), name
        assert torch.equal(value, other[name]), name
        assert torch.equal(value, state[f"objective/{name}"]), name

    found = capture.read(run)
    assert found.checkpoint == "checkpoints/step-00000009"
    assert [step.step for step in found.steps] == [7, 8, 9]
    bad = [
        piece.samples[piece.positions.index(step.start + BAD_ROW)]
        for step in found.steps
        for piece in step.at_fault
    ]
    assert len(bad) == 3
    assert re.search(rf"with samples .*\b{bad[-1]}\b.* of process 1$", recorded["message"])

    monkeypatch.setitem(OBJECTIVES, "catlip", Breaking)
    shown = CliRunner().invoke(app, [str(run), "--cpu", "--json"])
    assert shown.exit_code == 0, shown.stderr
    result = json.loads(shown.stdout)["result"]
    assert result["shown"]
    place = {"where": "output", "name": "model.norm_pre", "rank": 1, "piece": 1}
    assert [step["fault"] for step in result["steps"]] == [{**place, "samples": [sample]} for sample in bad]
    table = CliRunner().invoke(app, [str(run), "--cpu"])
    assert "output of model.norm_pre" in table.stdout

    # Sound again, all is finite, and the gradient that of the step.
    monkeypatch.setitem(OBJECTIVES, "catlip", Catlip)
    sound = replay(run, cpu=True)
    assert not sound.shown
    assert all(step.loss is not None and step.grad_norm is not None for step in sound.steps)
    recipe = PretrainRecipe.model_validate_json((ended / "recipe.json").read_text())
    result = pretrain(recipe, out=run, resume=True, cpu=True)
    assert (result.steps, result.skipped) == (12, 6)
    assert [row["skipped"] for row in read_metrics(run / "metrics.jsonl")][-3:] == [6, 6, 6]


def test_a_gradient_is_found_where_the_loss_is_finite_and_other_data_is_refused(
    document: dict[str, Any], pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (tmp_path / "pairs.tar").write_bytes(pairs.read_bytes())
    document["data"] = {"sources": [str(tmp_path / "pairs.tar")]}
    monkeypatch.setitem(OBJECTIVES, "catlip", Steep)
    with pytest.raises(NonFiniteLoss, match="the gradient became non-finite at step 3"):
        pretrain(PretrainRecipe.model_validate(document), out=run)
    found = replay(run, cpu=True)
    assert [step.captured for step in found.steps] == ["gradient"] * 3
    for step in found.steps:
        assert step.loss is not None
        assert step.fault is not None
        # Of the backward pass the first: the head's.
        assert (step.fault.where, step.fault.name[:11]) == ("gradient", "model.head.")
        assert len(step.fault.samples) == 10
    # Without its first pair, each image has another number.
    with tarfile.open(pairs) as before, tarfile.open(tmp_path / "pairs.tar", "w") as after:
        for member in before.getmembers()[2:]:
            after.addfile(member, before.extractfile(member))
    with pytest.raises(DataError, match=r"the data is not what step 1 was taken on"):
        replay(run, cpu=True)
    with pytest.raises(CheckpointError, match=r"has no capture\.json"):
        capture.read(tmp_path)
    with pytest.raises(UsageError, match="no run at"):
        capture.read(tmp_path / "none")


def test_gradients_too_large_for_their_norm_are_told_as_such(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OBJECTIVES, "catlip", Vast)
    run = tmp_path / "run"
    with pytest.raises(NonFiniteLoss, match="the gradient became non-finite at step 3"):
        pretrain(PretrainRecipe.model_validate(document), out=run)
    shown = CliRunner().invoke(app, [str(run), "--cpu"])
    assert "the norm alone: each gradient is finite" in shown.stdout
    assert "all is finite here" not in shown.stdout


if __name__ == "__main__":
    sys.exit(worker(Path(sys.argv[1])))
