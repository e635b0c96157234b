import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from catlipctl import checkpoints
from catlipctl.data.batch import Batch
from catlipctl.errors import DataError, NonFiniteLoss, Stopped, UsageError
from catlipctl.objectives import OBJECTIVES, Catlip
from catlipctl.training import PretrainRecipe, metrics, pretrain
from catlipctl.training.run_directory import RunDirectory


def changed(document: dict[str, Any], **sections: Any) -> PretrainRecipe:
    return PretrainRecipe.model_validate({**document, **sections})


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in metrics.read(run / "metrics.jsonl")]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(checkpoints.resolve(run) / "model.safetensors")


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """An objective that asks its run to stop at a step, by the signal that a scheduler would send."""
    at = {"step": -1, "seen": 0}

    class Stopping(Catlip):
        def begin_step(self, micro_batches: object) -> None:  # noqa: ARG002
            at["seen"] += 1
            if at["seen"] == at["step"]:
                os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setitem(OBJECTIVES, "catlip", Stopping)
    return at


def test_a_run_is_repeatable_and_its_files_say_what_happened(recipe: PretrainRecipe, tmp_path: Path) -> None:
    result = pretrain(recipe, out=tmp_path / "one")
    pretrain(recipe, out=tmp_path / "two")
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    rows = metrics.read(tmp_path / "one" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["samples"] for row in rows] == list(range(10, 90, 10))
    assert rows[5]["epoch"] == 1.0
    assert result.final_loss == losses(tmp_path / "one")[-1] < result.first_loss
    assert (result.steps, result.samples, result.vocabulary_size) == (8, 80, 10)
    assert json.loads((tmp_path / "one" / "exit.json").read_text())["exit_code"] == 0
    timm.create_model(f"local-dir:{result.checkpoint}", pretrained=True)


def test_the_first_loss_is_v_ln_2_where_the_head_says_nothing(
    document: dict[str, Any], tmp_path: Path
) -> None:
    document["model"]["model_args"]["weight_init"] = "jax"  # the head's weight and bias start at 0
    pretrain(changed(document, length={"steps": 1}), out=tmp_path / "run")
    assert losses(tmp_path / "run")[0] == pytest.approx(10 * 0.6931472, rel=1e-6)


@pytest.mark.parametrize("momentum", [None, "fit"])
@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_a_stopped_run_goes_on_exactly(
    document: dict[str, Any],
    tmp_path: Path,
    stopping: dict[str, int],
    momentum: str | None,
    tower: str,
) -> None:
    if tower == "resnet":
        document["model"] = {"name": "test_resnet", "image_size": 32}
    recipe = changed(document, ema={"momentum": momentum})
    pretrain(recipe, out=tmp_path / "whole")
    stopping.update(step=3, seen=0)
    with pytest.raises(Stopped) as caught:
        pretrain(recipe, out=tmp_path / "parts")
    assert caught.value.exit_code == 75
    assert json.loads((tmp_path / "parts" / "exit.json").read_text())["exit_code"] == 75
    assert len(losses(tmp_path / "parts")) == 3
    # A line that a killed process tore, and a whole one from a step that was not saved.
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "loss": 9}\n{"step": 5, "lo')
    stopping.update(step=2, seen=0)
    with pytest.raises(Stopped):
        pretrain(recipe, out=tmp_path / "parts", resume=True)
    pretrain(recipe, out=tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "parts")[name], value), name


def test_resuming_a_complete_run_returns_its_result(recipe: PretrainRecipe, tmp_path: Path) -> None:
    before = pretrain(recipe, out=tmp_path / "run", resume=True)
    assert pretrain(recipe, out=tmp_path / "run", resume=True) == before


def test_accumulation_changes_no_loss(document: dict[str, Any], tmp_path: Path) -> None:
    pretrain(changed(document), out=tmp_path / "one")
    pretrain(changed(document, device_batch_size=4), out=tmp_path / "four")
    assert losses(tmp_path / "four") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_changed_recipe_is_not_resumed(
    document: dict[str, Any], tmp_path: Path, stopping: dict[str, int]
) -> None:
    stopping.update(step=2, seen=0)
    with pytest.raises(Stopped):
        pretrain(changed(document), out=tmp_path / "run")
    with pytest.raises(UsageError, match=r"length.steps: 8 in .*, 9 now"):
        pretrain(changed(document, length={"steps": 9}), out=tmp_path / "run", resume=True)
    pretrain(changed(document, log_every=3, save_every=2), out=tmp_path / "run", resume=True)
    assert [row["step"] for row in metrics.read(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 6, 8]


def test_a_run_is_never_overwritten_and_never_shared(recipe: PretrainRecipe, tmp_path: Path) -> None:
    pretrain(recipe, out=tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(UsageError) as caught:
        pretrain(recipe, out=tmp_path / "run")
    assert "--resume" in caught.value.hint
    assert "--out" in caught.value.hint
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    other = RunDirectory(tmp_path / "run")
    assert other.lock()
    with pytest.raises(UsageError, match="in use"):
        pretrain(recipe, out=tmp_path / "run", resume=True)
    other.release()


def test_runs_without_out_are_numbered(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = changed(document, length={"steps": 1})
    runs = [pretrain(recipe, name="demo").run for _ in range(3)]
    assert runs == ["runs/demo", "runs/demo-2", "runs/demo-3"]
    assert pretrain(recipe, name="demo", resume=True).run == "runs/demo-3"


def test_nan_stops_before_the_optimiser_steps(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Catlip):
        def forward(self, batch: Batch) -> torch.Tensor:
            loss = super().forward(batch)
            return loss * float("nan") if batch.position == 30 else loss

    monkeypatch.setitem(OBJECTIVES, "catlip", Failing)
    with pytest.raises(NonFiniteLoss, match="at step 3 in a batch with samples") as caught:
        pretrain(recipe, out=tmp_path / "run")
    assert caught.value.exit_code == 6
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 6
    assert len(losses(tmp_path / "run")) == 3


def test_a_start_that_failed_leaves_the_directory_usable(document: dict[str, Any], tmp_path: Path) -> None:
    missing = changed(document, data={"sources": [str(tmp_path / "nowhere")]})
    with pytest.raises(DataError):
        pretrain(missing, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 3
    pretrain(changed(document, length={"epochs": 0.5}), out=tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 3
