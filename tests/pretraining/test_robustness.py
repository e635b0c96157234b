"""What may happen to a run: an upgrade, moved data, a kill at a bad moment, a schedule that cannot be."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from catlipctl import checkpoints, data
from catlipctl.checkpoints.writing import write_manifest
from catlipctl.errors import CheckpointError, DataError, NonFiniteLoss, OutOfMemory, Stopped, UsageError
from catlipctl.pretraining import pretrain
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.signals import answered
from catlipctl.training import saving
from catlipctl.training.directory import RunDirectory
from catlipctl.training.hub import Failure
from catlipctl.training.learner import Learner
from catlipctl.training.report import read_metrics
from catlipctl.training.world import World

NEW_KEYS = {
    "": (
        "sizes",
        "activation_checkpointing",
        "compile",
        "save_minutes",
        "keep_last",
        "clip",
        "siglip",
        "superclip",
        "range_augment",
    ),
    "data": ("captions", "decode", "window"),
    "schedule": ("decimals",),
}
"""What recipes have got since version 0.1."""


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


def kept(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-*"))


def at_step(index: int, happens: Any, monkeypatch: pytest.MonkeyPatch, method: str = "gradients") -> None:
    """Call `happens` as the learner begins this step (from 0)."""
    begun = getattr(Learner, method)
    seen = {"steps": -1}

    def stepped(self: Learner, *arguments: Any) -> Any:
        seen["steps"] += 1
        if seen["steps"] == index:
            happens()
        return begun(self, *arguments)

    monkeypatch.setattr(Learner, method, stepped)


def stop(recipe: PretrainRecipe, out: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is stopped, and saved, after so many steps."""
    with monkeypatch.context() as patch:
        at_step(step - 2, lambda: os.kill(os.getpid(), signal.SIGTERM), patch)
        with pytest.raises(Stopped, match=f"stopped at step {step}, saved"):
            pretrain(recipe, out=out)


def changed_state(run: Path, *, lose: str = "", keys: tuple[str, ...] = ()) -> None:
    """Take a tensor, and keys of state.json, out of the newest checkpoint, which stays whole."""
    folder = checkpoints.resolve(run)
    tensors = load_file(folder / "state" / "state.safetensors")
    save_file({n: v for n, v in tensors.items() if n != lose}, folder / "state" / "state.safetensors")
    document = json.loads((folder / "state" / "state.json").read_text())
    (folder / "state" / "state.json").write_text(
        json.dumps({key: value for key, value in document.items() if key not in keys})
    )
    (folder / "manifest.json").unlink()
    write_manifest(folder)


@pytest.mark.parametrize("momentum", [None, 0.2])
def test_a_run_of_version_0_1_is_resumed(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, momentum: float | None
) -> None:
    recipe = PretrainRecipe.model_validate({**document, "ema": {"momentum": momentum}})
    pretrain(recipe, out=tmp_path / "whole")
    run = tmp_path / "old"
    stop(recipe, run, 3, monkeypatch)
    old = yaml.safe_load((run / "recipe.yaml").read_text())
    for section, keys in NEW_KEYS.items():
        for key in keys:
            del (old[section] if section else old)[key]
    (run / "recipe.yaml").write_text(yaml.safe_dump(old))
    changed_state(run, keys=("without_moments", "kept"))
    names = load_file(checkpoints.resolve(run) / "state" / "state.safetensors").keys()
    assert {name.split("/")[0] for name in names} == (
        {"optimiser", "objective"} if momentum else {"optimiser"}
    )
    pretrain(recipe, out=run, resume=True)
    assert losses(run) == losses(tmp_path / "whole")
    found, wanted = (
        load_file(checkpoints.resolve(r) / "model.safetensors") for r in (run, tmp_path / "whole")
    )
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_lost_moments_are_refused(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(recipe, tmp_path / "run", 3, monkeypatch)
    changed_state(tmp_path / "run", lose="optimiser/model.head.weight/exp_avg_sq")
    with pytest.raises(CheckpointError, match=r"or not all of it: .*model\.head\.weight/exp_avg_sq"):
        pretrain(recipe, out=tmp_path / "run", resume=True)


def test_data_that_moved_is_the_same_data_and_a_refusal_changes_no_file(
    document: dict[str, Any], pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stop(PretrainRecipe.model_validate(document), run, 3, monkeypatch)
    settled = (run / "recipe.yaml").read_text()
    other = {**document, "data": {"sources": [str(tmp_path / "other.tar")]}}
    shutil.copy(pairs, tmp_path / "other.tar")
    with (tmp_path / "other.tar").open("r+b") as stream:
        content = bytearray(stream.read())
        at = content.rindex(b"a ", 0, len(content) - 2048)
        content[at : at + 2] = b"A\t"
        stream.seek(0)
        stream.write(content)
    whole = PretrainRecipe.model_validate(other)
    with pytest.raises(DataError, match="the data is not what this run was trained on"):
        pretrain(whole, out=run, resume=True)
    assert (run / "recipe.yaml").read_text() == settled
    shutil.copy(pairs, tmp_path / "moved.tar")
    moved = {**document, "data": {"sources": [str(tmp_path / "moved.tar")]}}
    assert pretrain(PretrainRecipe.model_validate(moved), out=run, resume=True).steps == 8
    # So `--resume` without a recipe finds it.
    assert yaml.safe_load((run / "recipe.yaml").read_text())["data"]["sources"] == [
        str(tmp_path / "moved.tar")
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute passes with every look at the clock of saves."""
    now = count(time.monotonic(), 60)
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: next(now)))


@pytest.mark.usefixtures("clock")
def test_a_save_of_the_clock_gives_way_to_the_next(
    document: dict[str, Any], tmp_path: Path, after_saves: list[list[str]]
) -> None:
    recipe = PretrainRecipe.model_validate({**document, "save_minutes": 1.5, "save_every": 5})
    pretrain(recipe, out=tmp_path / "run")
    assert kept(tmp_path / "run") == ["step-00000005", "step-00000008"]
    assert any(set(names) - {"step-00000005", "step-00000008"} for names in after_saves)
    assert max(map(len, after_saves)) == 2  # the one that is kept, and the newest one


def test_a_signal_after_the_last_step_says_that_all_is_saved(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = pretrain.__globals__["summary"]

    def signalled(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return summary(*arguments)

    monkeypatch.setitem(pretrain.__globals__, "summary", signalled)
    for resume in (False, True):  # on resuming there is no step at all, and the run is complete
        with pytest.raises(Stopped, match="after the last step: all is saved") as caught:
            pretrain(recipe, out=tmp_path / "run", resume=resume)
        assert "--resume" in caught.value.hint
        assert caught.value.exit_code == 75


def test_a_signal_during_the_last_step_stops_after_it(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    with pytest.raises(Stopped, match="SIGTERM after the last step: all is saved") as caught:
        pretrain(recipe, out=run)
    assert caught.value.exit_code == 75
    assert kept(run) == ["step-00000008"]
    assert json.loads((run / "exit.json").read_text())["exit_code"] == 75
    assert pretrain(recipe, out=run, resume=True).steps == 8


def test_an_error_in_training_is_not_hidden_by_a_signal(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = RunDirectory.record

    def signalled(self: RunDirectory, failure: Failure) -> Failure:
        os.kill(os.getpid(), signal.SIGTERM)
        return recorded(self, failure)

    def fail() -> None:
        raise NonFiniteLoss("the loss is nan at step 3")

    # While the error is on its way out.
    monkeypatch.setattr(RunDirectory, "record", signalled)
    at_step(2, fail, monkeypatch)
    with answered() as signals:
        with pytest.raises(NonFiniteLoss):
            pretrain(recipe, out=tmp_path / "run")
        assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 6
        assert signals.received == signal.SIGTERM


def kill_workers(number: signal.Signals) -> None:
    children = multiprocessing.active_children()
    assert children
    for child in children:
        assert child.pid is not None
        os.kill(child.pid, number)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody knows yet
    for _ in range(100):  # bytecode, between which a handler of SIGCHLD may run
        torch.zeros(1).item()


def test_a_killed_worker_is_no_memory_with_exit_code_7(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_ = {**document["data"], "workers": 1}
    recipe = PretrainRecipe.model_validate({**document, "data": data_, "length": {"steps": 500}})
    at_step(2, lambda: kill_workers(signal.SIGKILL), monkeypatch)
    with pytest.raises(OutOfMemory, match="a loader's worker process was killed") as caught:
        pretrain(recipe, out=tmp_path / "run")
    assert "data.workers" in caught.value.hint
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 7


def test_a_scheduler_that_ends_the_workers_too_finds_the_run_saved(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that runs out of its time is killed, process by process."""

    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        kill_workers(signal.SIGKILL)

    data_ = {**document["data"], "workers": 1}
    recipe = PretrainRecipe.model_validate({**document, "data": data_, "length": {"steps": 500}})
    at_step(2, terminate, monkeypatch)
    with pytest.raises(Stopped, match=r"stopped at step \d+, saved") as caught:
        pretrain(recipe, out=tmp_path / "run")
    assert caught.value.exit_code == 75
    assert checkpoints.latest(tmp_path / "run") is not None


def test_a_section_of_another_objective_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="section clip: the objective is catlip"):
        PretrainRecipe.model_validate({**document, "clip": {"embed_dim": 8}})


@pytest.mark.parametrize(
    ("changes", "processes", "says"),
    [
        (
            {"sizes": {"min": 24, "max": 40, "scales": 3, "multiple": 8}},
            1,
            "does not take images of 24, 40 px",
        ),
        (
            {"model": {"name": "swin_tiny_patch4_window7_224"}, "sizes": {"min": 192, "max": 224}},
            1,
            "swin_tiny",
        ),
        ({"global_batch_size": 2}, 3, "a step of 2 images cannot be shared out over 3 processes"),
        # 10 images of 32 px are 2 of 64 px.
        ({"sizes": {"min": 32, "max": 64}}, 3, "a step of 2 images cannot be shared out over 3 processes"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_before_data_is_opened(
    document: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    processes: int,
    says: str,
) -> None:
    begun = World.__init__

    def several(self: World, *, cpu: bool = False) -> None:
        begun(self, cpu=cpu)
        self.size = processes

    monkeypatch.setattr(World, "__init__", several)
    monkeypatch.setattr(data, "open_source", lambda *_, **__: pytest.fail("data was opened"))
    with pytest.raises(UsageError, match=says):
        pretrain(PretrainRecipe.model_validate({**document, **changes}), out=tmp_path / "run")
