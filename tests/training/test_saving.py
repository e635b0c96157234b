"""Saves beside training: what they hold, full disks, real kills, and the parts of several processes."""

import fcntl
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil
import pytest
import timm
import torch
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from catlipctl import checkpoints, models
from catlipctl.checkpoints.pieces import Piece
from catlipctl.data.batch import Batch, Step
from catlipctl.errors import CatlipctlError, CheckpointError
from catlipctl.objectives import Catlip, Context
from catlipctl.progress import Silent
from catlipctl.settings.models import ModelSettings
from catlipctl.settings.training import OptimiserSettings
from catlipctl.training import snapshot
from catlipctl.training.learner import Learner
from catlipctl.training.report import RunState
from catlipctl.training.saving import Saves
from catlipctl.training.steps import StepSchedule
from catlipctl.training.world import World

VIT: dict[str, Any] = {
    "name": "vit_tiny_patch16_224",
    "model_args": {"embed_dim": 48, "depth": 2, "num_heads": 2},
}
STEPS = 100_000


class Heard(Silent):
    """Remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def made(kind: type[Learner] = Learner, **model: Any) -> Learner:
    torch.manual_seed(0)
    settings = ModelSettings(image_size=32, **(model or VIT))
    objective = Catlip.build(None, Context(tower=models.create(settings, 5), encode=lambda _: []))
    return kind(objective, OptimiserSettings(), World(cpu=True), momentum=0.3)


def step_of(learner: Learner, index: int) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    targets = {"classes": torch.tensor([0, 1, 2, 3]), "counts": torch.ones(4, dtype=torch.long)}
    numbers = torch.arange(4)
    step = Step(index=index, size=32, rows=4 * learner.world.size, start=4 * index)
    batch = Batch(step=step, images=images, targets=targets, positions=numbers, samples=numbers, counted=4)
    learner.step(step, [batch], 0.01)


def saves_of(learner: Learner, run: Path, heard: Heard | None = None, **settings: Any) -> Saves:
    rows = np.full(STEPS, 4, np.int64)
    starts = np.arange(STEPS + 1, dtype=np.int64) * 4
    schedule = StepSchedule(np.full(STEPS, 32, np.int32), rows, starts, 32)
    data = {"samples": 100, "content": "0"}
    known = {"data": data, "processes": learner.world.size, "micro_batch": 4, "threads": 1}
    parts = lambda _: {"config": {"objective": "catlip"}}  # noqa: E731
    progress = heard or Heard()
    return Saves(run, learner, schedule, learner.world, parts, known, progress=progress, **settings)


def state(step: int) -> RunState:
    return RunState(step, {"seconds": float(step), "replaced": 0.0})


def saved(directory: Path) -> dict[str, Tensor]:
    found = load_file(directory / "state" / "state.safetensors")
    tower = load_file(directory / "model.safetensors")
    return found | {f"tower/{name}": value for name, value in tower.items()}


def held(learner: Learner) -> dict[str, Tensor]:
    tower = {f"tower/{name}": value for name, value in learner.tower_weights().items()}
    return {name: value.clone() for name, value in (learner.state_dict() | tower).items()}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@pytest.fixture
def slow_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that are still under way when the next step's forward pass is."""
    copy = snapshot.copy

    def slow(*arguments: Any) -> None:
        time.sleep(0.001)
        copy(*arguments)

    monkeypatch.setattr(snapshot, "copy", slow)


@pytest.mark.usefixtures("slow_copies")
def test_it_holds_what_was_there_when_it_was_asked_for(tmp_path: Path) -> None:
    learner = made(name="resnet10t")  # its statistics change in the forward pass
    wanted = []
    with saves_of(learner, tmp_path) as saves:
        for step in range(1, 4):
            step_of(learner, step)
            wanted.append(held(learner))
            saves.save(state(step))
            copied = saves._writer.last.copied
            assert not copied.is_set(), "the step begins while it is copied"
        saves.finish()
    for step, expected in enumerate(wanted, 1):
        directory = tmp_path / "checkpoints" / f"step-{step:08d}"
        checkpoints.verify(directory)
        assert_same(saved(directory), expected)
    assert any(not torch.equal(wanted[0][name], wanted[1][name]) for name in wanted[0] if "running" in name)


def test_a_full_disk_costs_saves_and_the_third_in_a_row_the_run(small_disk: Callable[[int], Path]) -> None:
    disk, heard, learner = small_disk(16), Heard(), made()
    folder, ballast = disk / "checkpoints", disk / "ballast"

    def failing(saves: Saves, steps: Sequence[int]) -> None:
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 2**18))
        for step in steps:
            step_of(learner, step)
            saves.save(state(step))
            saves._writer.last.done.wait()

    with saves_of(learner, disk, heard, keep_last=1) as saves:
        step_of(learner, 0)
        saves.save(state(1))
        saves.finish()
        before = saved(folder / "step-00000001")
        failing(saves, [2, 3])
        assert not saves.overdue
        with pytest.raises(CatlipctlError, match="disk full"):
            saves.finish()  # there is no next one that could make up for it
        assert_same(saved(folder / "step-00000001"), before)
        ballast.unlink()
        saves.save(state(4))
        saves.finish()
        failing(saves, [5, 6, 7])
        assert saves.overdue, "its end is not to be waited for"
        with pytest.raises(CatlipctlError, match="disk full") as caught:
            saves.save(state(8))
    assert len(heard.warnings) == 5
    size = sum(path.stat().st_size for path in (folder / "step-00000004").rglob("*") if path.is_file())
    for told in (*heard.warnings, caught.value.message):
        found = re.search(r"step-\d+: ([\d,]+) bytes are needed, ([\d,]+) are free", told)
        assert found is not None
        needed, free = (int(number.replace(",", "")) for number in found.groups())
        assert size - 10_000 < needed <= size, "all but the manifest"
        assert free <= 2**18
    assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-00000004"]
    checkpoints.verify(checkpoints.resolve(disk))


def test_a_folder_that_cannot_be_written_is_told_before_a_step(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(CatlipctlError, match=r"cannot write .*Read-only file system"), saves_of(made(), disk):
        raise AssertionError("a step could be taken")


def killed(folder: Path, last: str) -> None:
    """Save at each step, on and on; or once, where it is the `last`."""
    learner = made()
    saves = saves_of(learner, folder, keep_last=2)
    begun = state(0)
    if (newest := checkpoints.latest(folder)) is not None:
        begun = saves.restore(newest)
    with saves:
        for step in range(begun.step, begun.step + 1 if last == "last" else STEPS):
            step_of(learner, step)
            saves.save(state(step + 1))
        saves.finish()


def start(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    shared = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        env={**os.environ, **shared, **environment},
        start_new_session=True,
    )


Living = Callable[[list[psutil.Process], float], list[psutil.Process]]


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path, living: Living) -> None:
    draw = Random(0)

    def newest() -> Path | None:
        return checkpoints.latest(tmp_path)

    def wait_for_another(process: subprocess.Popen[bytes]) -> None:
        before, end = newest(), time.monotonic() + 60
        while newest() == before:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)

    for kill_both in (False, True):
        process = start("killed", str(tmp_path), "on")
        for _ in range(2):
            wait_for_another(process)
            (writer,) = psutil.Process(process.pid).children()
            time.sleep(draw.uniform(0, 0.1))
            writer.kill()  # the next save has another
        wait_for_another(process)
        writers = psutil.Process(process.pid).children()
        time.sleep(draw.uniform(0, 0.1))
        if kill_both:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        assert not living(writers, 10)
        for step in (tmp_path / "checkpoints").glob("step-*"):
            checkpoints.verify(step)
        assert newest() is not None
    found = newest()
    assert found is not None
    step = int(found.name.removeprefix("step-"))
    killed(tmp_path, "last")
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left[0] == "latest"
    assert left[-1] == f"step-{step + 1:08d}"
    assert len(left) == 3


class Cut(Learner):
    """One whose state each of three processes holds some rows of: of vectors, the second none."""

    def state_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = dict(super().state_dict())
        for name, tensor in found.items():
            if tensor.ndim:
                rows = len(tensor)
                ends = [0, rows // 3, rows // 3 if tensor.ndim == 1 else rows // 2, rows]
                first, end = ends[self.world.rank], ends[self.world.rank + 1]
                found[name] = Piece(tensor[first:end], first, tuple(tensor.shape))
        return found


def waiting_in(process: subprocess.Popen[str]) -> int:
    """Bytes that a writer was told and has not read."""
    count = bytearray(4)
    fcntl.ioctl(process.stdin, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def sharded(folder: Path, _: str) -> None:
    heard, learner = Heard(), made(Cut)
    rank = learner.world.rank
    step_of(learner, 0)
    if rank == 0:
        save_file(Learner.state_dict(learner), folder / "whole.safetensors")
    with saves_of(learner, folder / "run", heard) as saves:
        saves.save(state(1))
        saves.finish()
        process = saves._writer._process
        assert process is not None
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        if rank == 1:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, before[1]))
        saves.save(state(2))
        saves._writer.last.done.wait()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
        saves.save(state(3))
        saves.finish()
        if rank == 2:
            os.kill(process.pid, signal.SIGSTOP)
        saves.save(state(4))
        while rank == 2 and not waiting_in(process):
            time.sleep(0.01)
        if rank == 2:
            os.kill(process.pid, signal.SIGKILL)
        saves.save(state(5))
        saves.finish()
        again = made()
        others = saves_of(again, folder / "run")
        assert others.restore(folder / "run" / "checkpoints" / "step-00000005").step == 5
        assert_same(again.state_dict(), Learner.state_dict(learner))
    (folder / f"{rank}.json").write_text(json.dumps(heard.warnings))
    learner.world.close()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three gloo processes saved together."""
    folder = tmp_path_factory.mktemp("three")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [
        start("sharded", str(folder), "", **shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(3)
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
    return folder


class AnyState(BaseModel):
    step: int


def test_a_process_that_cannot_write_its_part_costs_one_save(three: Path) -> None:
    found = [path.name for path in sorted((three / "run" / "checkpoints").iterdir())]
    assert found == ["latest", *(f"step-{step:08d}" for step in (1, 3, 5))]
    for step in checkpoints.directory.steps(three / "run"):
        checkpoints.verify(step)
    first, second = json.loads((three / "0.json").read_text())
    assert "step-00000002" in first
    assert "process 1: disk full" in first
    assert "process 2" in second
    assert "was killed" in second


def test_state_that_is_cut_is_read_whole_or_by_rows(three: Path, tmp_path: Path) -> None:
    step = checkpoints.resolve(three / "run")
    wanted = load_file(three / "whole.safetensors")
    timm.create_model(f"local-dir:{step}", pretrained=True)
    found, _ = checkpoints.read_state(step, AnyState)
    assert len(found.shards) == checkpoints.inspect(step).shards == 3
    assert_same(dict(found), wanted)
    draw = Random(0)
    for name, value in wanted.items():
        if value.ndim:
            first = draw.randint(0, len(value))
            count = draw.randint(0, len(value) - first)
            assert torch.equal(found.rows(name, first, count), value[first : first + count]), name
    for missing in (found.__getitem__, lambda name: found.rows(name, 0, 1)):
        with pytest.raises(KeyError):
            missing("nothing")
    gathered = checkpoints.gather(step, tmp_path / "one")
    assert (gathered.shards, gathered.tensors) == (3, len(wanted))
    checkpoints.verify(tmp_path / "one")
    assert_same(load_file(tmp_path / "one" / "state" / "state.safetensors"), wanted)
    whole, _ = checkpoints.read_state(tmp_path / "one", AnyState)
    name = "objective/model.blocks.0.mlp.fc1.weight"
    assert torch.equal(whole.rows(name, 5, 7), wanted[name][5:12])
    assert not whole.shards
    with pytest.raises(CheckpointError, match="not cut"):
        checkpoints.gather(tmp_path / "one", tmp_path / "two")
    shard = step / found.shards[2]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    damaged, _ = checkpoints.read_state(step, AnyState)
    with pytest.raises(CheckpointError, match=r"state-00002-of-00003\.safetensors has SHA"):
        dict(damaged)


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    task, folder, word = arguments
    {"killed": killed, "sharded": sharded}[task](Path(folder), word)


if __name__ == "__main__":
    main(sys.argv[1:])
