"""Whole runs as a person starts them: real processes, really signalled."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from catlipctl import checkpoints
from catlipctl.errors import UsageError
from catlipctl.pretraining import pretrain
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import launch
from catlipctl.training.directory import RunDirectory
from catlipctl.training.report import read_metrics
from catlipctl.training.saved import Saved

from .conftest import starts


@pytest.fixture
def file(document: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


Living = Callable[[list[psutil.Process], float], list[psutil.Process]]

PIPES: Any = {
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
    "env": {**os.environ, "OMP_NUM_THREADS": "1"},
}


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "catlipctl.cli.main", "pretrain", *map(str, arguments)],
        **PIPES,
        # The tests themselves may run under nohup, which their children would respect.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    """What a test that fails has started would train on for ever."""
    yield
    for process in psutil.Process().children(recursive=True):
        # One that ends by itself just now is no fault.
        with suppress(psutil.NoSuchProcess):
            if "catlipctl.cli.main" in process.cmdline():
                process.kill()


def wait_for_steps(run: Path, steps: int, process: "subprocess.Popen[str]") -> None:
    while len(losses(run)) < steps and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
def test_stopped_by_signals_and_resumed_it_has_the_losses_of_one_run(
    document: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    document["length"] = {"steps": 200}
    pretrain(PretrainRecipe.model_validate(document), out=whole)
    common = (file, "--out", parts, "--resume", "--json", "--set", "length.steps=200")
    for number, expected, steps in ((signal.SIGINT, 130, 50), (signal.SIGTERM, 75, 100)):
        run = start(*common)
        wait_for_steps(parts, steps, run)
        run.send_signal(number)
        code, out, err = finish(run)
        assert code == expected, err
        assert json.loads(out)["error"]["exit_code"] == expected
        assert "hint: run the same command with --resume" in err
        assert steps <= len(losses(parts)) < 200
        assert json.loads((parts / "exit.json").read_text())["exit_code"] == expected
    code, out, err = finish(start(*common))
    assert code == 0, err
    assert json.loads(out)["result"]["steps"] == 200
    assert losses(parts) == losses(whole)


@pytest.mark.slow
def test_two_processes_stopped_and_resumed_have_the_losses_of_one(
    document: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    # 11 images on 2 processes in pieces of 4: shares of 5 and 6.
    one, two = tmp_path / "one", tmp_path / "two"
    document |= {"global_batch_size": 11, "device_batch_size": 4, "length": {"steps": 60}}
    pretrain(PretrainRecipe.model_validate(document), out=one)
    file.write_text(yaml.safe_dump(document))
    common = (file, "--processes", 2, "--out", two, "--resume", "--json")
    run = start(*common)
    wait_for_steps(two, 10, run)
    run.send_signal(signal.SIGUSR1)
    code, out, err = finish(run)
    assert code == 75, err
    assert json.loads(out)["status"] == "error"
    code, out, err = finish(start(*common))
    assert code == 0, err
    assert json.loads(out)["status"] == "ok"
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert [row["processes"] for row in starts(two)] == [2, 2]


@pytest.mark.slow
def test_all_processes_resume_the_run_that_the_first_has_chosen(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(yaml.safe_dump(document | {"length": {"steps": 100_000}}))
    run = start("my.yaml", "--processes", 2)
    wait_for_steps(Path("runs/my"), 3, run)
    run.send_signal(signal.SIGTERM)
    code, _, err = finish(run)
    assert code == 75, err
    done = len(losses(Path("runs/my")))
    changes = ("--set", f"length.steps={done + 2}", "--allow-recipe-change")
    code, out, err = finish(start("runs/my", "--resume", "--processes", 2, *changes, "--json"))
    assert code == 0, err
    assert json.loads(out)["result"]["steps"] == done + 2
    code, out, err = finish(start("--resume", "--processes", 2, "--json"))
    assert code == 0, err
    assert json.loads(out)["result"]["run"] == "runs/my"
    assert os.listdir("runs") == ["my"]
    begun = [row["command"] for row in starts(Path("runs/my"))]
    assert begun[0] == ["catlipctl", "pretrain", "my.yaml", "--processes", "2"]
    assert begun[1][:3] == ["catlipctl", "pretrain", "runs/my"]


@pytest.mark.slow
def test_a_dead_process_ends_all_within_seconds(file: Path, tmp_path: Path) -> None:
    run = start(file, "--processes", 2, "--out", tmp_path / "run", "--set", "length.steps=100000")
    wait_for_steps(tmp_path / "run", 3, run)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    if not children.exists():
        run.kill()
        pytest.skip("no /proc here")
    os.kill(int(children.read_text().split()[1]), signal.SIGKILL)
    code, _, err = finish(run)
    assert code == 1
    assert "process 1 of 2 was killed by SIGKILL" in err


def test_a_run_has_its_directory_alone_and_killed_lets_go_of_it_at_once(
    recipe: PretrainRecipe, file: Path, tmp_path: Path
) -> None:
    run = start(file, "--out", tmp_path / "run", *ENDLESS)
    wait_for_steps(tmp_path / "run", 3, run)
    for resume in (False, True):
        with pytest.raises(UsageError) as refused:
            pretrain(recipe, out=tmp_path / "run", resume=resume)
        assert refused.value.exit_code == 2
    assert "in use" in refused.value.message
    assert not (tmp_path / "run" / "exit.json").exists()
    run.kill()
    run.wait()
    again = RunDirectory(tmp_path / "run")
    held = again.lock()
    again.release()
    assert held


ENDLESS = ("--set", "length.steps=100000", "--set", "data.workers=2")


def below(process: "subprocess.Popen[str]", at_least: int) -> list[psutil.Process]:
    """All processes that this one has started, and those that they have, the lowest first."""
    found = psutil.Process(process.pid).children(recursive=True)[::-1]
    assert len(found) >= at_least
    return found


@pytest.mark.parametrize(
    ("name", "processes"), [("SIGTERM", 1), pytest.param("SIGTERM", 2, marks=pytest.mark.slow)]
)
def test_a_signal_to_every_process_of_a_job_saves(
    file: Path, tmp_path: Path, living: Living, name: str, processes: int
) -> None:
    """As `scancel` and container runtimes send it; the loader's workers get it first, and work on."""
    out = tmp_path / "run"
    run = start(file, "--out", out, "--processes", processes, "--json", *ENDLESS)
    wait_for_steps(out, 3, run)
    jobs = below(run, at_least=2 if processes == 1 else 6)
    ranks = [] if processes == 1 else psutil.Process(run.pid).children()
    for process in jobs:
        if process not in ranks:
            process.send_signal(signal.Signals[name])
    wait_for_steps(out, len(losses(out)) + 30, run)  # more than the loader is ahead
    assert run.poll() is None
    for process in (*ranks, run):
        process.send_signal(signal.Signals[name])
    code, printed, err = finish(run)
    assert code == 75, err
    assert "saved" in json.loads(printed)["error"]["message"]
    assert json.loads((out / "exit.json").read_text())["exit_code"] == 75
    newest = checkpoints.latest(out)
    assert newest is not None
    assert checkpoints.read_state(newest, Saved)[1].step == len(losses(out))
    assert not living(jobs, 2)


@pytest.mark.slow
def test_ctrl_c_to_every_process_of_a_job_saves(file: Path, tmp_path: Path) -> None:
    """Each process gets two: its own, and the launcher's, which is no second one."""
    out = tmp_path / "run"
    run = start(file, "--out", out, "--processes", 2, *ENDLESS)
    wait_for_steps(out, 3, run)
    for process in below(run, at_least=6):
        process.send_signal(signal.SIGINT)
    run.send_signal(signal.SIGINT)
    code, _, err = finish(run)
    assert code == 130, err
    assert "saved" in err
    assert checkpoints.latest(out) is not None


@pytest.mark.parametrize(
    ("name", "processes"), [("SIGQUIT", 1), pytest.param("SIGHUP", 2, marks=pytest.mark.slow)]
)
def test_a_lost_terminal_ends_a_run_as_sigterm_does(
    file: Path, tmp_path: Path, name: str, processes: int
) -> None:
    run = start(file, "--out", tmp_path / "run", "--processes", processes, *ENDLESS)
    wait_for_steps(tmp_path / "run", 3, run)
    run.send_signal(signal.Signals[name])
    code, _, err = finish(run)
    assert code == 75, err
    assert "saved" in err
    assert checkpoints.latest(tmp_path / "run") is not None


def test_under_nohup_a_lost_terminal_changes_nothing(file: Path, tmp_path: Path) -> None:
    line = ["nohup", sys.executable, "-m", "catlipctl.cli.main", "pretrain", str(file)]
    run = subprocess.Popen(
        [*line, "--out", str(tmp_path / "run"), *ENDLESS], stdin=subprocess.DEVNULL, **PIPES
    )
    wait_for_steps(tmp_path / "run", 3, run)
    run.send_signal(signal.SIGHUP)
    wait_for_steps(tmp_path / "run", len(losses(tmp_path / "run")) + 20, run)
    assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    assert finish(run)[0] == 75


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_process_outlives_a_killed_job(file: Path, tmp_path: Path, living: Living, processes: int) -> None:
    run = start(file, "--out", tmp_path / "run", "--processes", processes, *ENDLESS)
    wait_for_steps(tmp_path / "run", 3, run)
    everyone = below(run, at_least=2 if processes == 1 else 6)
    ranks = [] if processes == 1 else psutil.Process(run.pid).children()
    for process in (run, *ranks):
        process.kill()
    run.wait()
    assert not living(everyone, 2)


@pytest.mark.slow
def test_processes_of_a_killed_launcher_save_and_end(file: Path, tmp_path: Path, living: Living) -> None:
    run = start(file, "--out", tmp_path / "run", "--processes", 2, *ENDLESS)
    wait_for_steps(tmp_path / "run", 3, run)
    everyone = below(run, at_least=6)
    run.kill()
    run.wait()
    assert not living(everyone, 60)
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 75
    assert checkpoints.latest(tmp_path / "run") is not None


AT = """
import importlib, os, signal, sys
from catlipctl.cli.main import main

module, owner, name, number = sys.argv[1:5]
owner = importlib.import_module(module) if not owner else getattr(importlib.import_module(module), owner)
original = getattr(owner, name)

def signalled(*arguments, **named):
    os.kill(os.getpid(), getattr(signal, number))
    return original(*arguments, **named)

setattr(owner, name, signalled)
del sys.argv[1:5]
main()
"""
"""The command line, in a process that sends itself a signal as it calls a function."""

BEFORE_THE_LOOP = [
    (("timm", "", "create_model"), "SIGINT", 130),
    (("catlipctl.data", "", "open_source"), "SIGTERM", 75),
    (("catlipctl.vocabulary.counting", "", "count"), "SIGTERM", 75),
    (("catlipctl.training.run", "World", "__init__"), "SIGQUIT", 75),
]


@pytest.mark.parametrize(("place", "number", "expected"), BEFORE_THE_LOOP)
def test_a_signal_before_the_loop_says_that_nothing_is_to_be_saved(
    document: dict[str, Any], tmp_path: Path, place: tuple[str, ...], number: str, expected: int
) -> None:
    path, run = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump({**document, "vocabulary": {"threshold": 0}}))
    line = [sys.executable, "-c", AT, *place, number, "pretrain", str(path), "--out", str(run), "--json"]
    code, out, err = finish(subprocess.Popen([*line, "--cache-dir", str(tmp_path / "cache")], **PIPES))
    said = f"stopped by {number} before the first step: nothing to save"
    assert (code, json.loads(out)["error"]) == (
        expected,
        {"message": said, "hint": "run it again", "exit_code": expected},
    ), err
    assert f"error: {said}\n" in err


def test_a_signal_to_one_process_in_the_last_step_stops_all(
    document: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    file.write_text(yaml.safe_dump({**document, "length": {"steps": 1}}))
    line = ["pretrain", str(file), "--processes", "2", "--out", str(tmp_path / "run"), "--json"]
    # As torchrun starts them; the second one alone is signalled.
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    place["MASTER_PORT"] = str(launch._free_port())
    signalled = ["-c", AT, "catlipctl.training.learner", "Learner", "step", "SIGTERM"]
    ranks = [
        subprocess.Popen(
            [sys.executable, *begin, *line],
            **{**PIPES, "env": {**PIPES["env"], **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}},
        )
        for rank, begin in enumerate((["-m", "catlipctl.cli.main"], signalled))
    ]
    for code, _, err in map(finish, ranks):
        assert code == 75, err
        assert "stopped by SIGTERM after the last step: all is saved" in err


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_to_every_process_while_torch_is_imported(
    file: Path, tmp_path: Path, living: Living, processes: int
) -> None:
    run = start(file, "--out", tmp_path / "run", "--processes", processes)
    children: list[psutil.Process] = []
    while processes == 2 and len(children) < 2:
        children = psutil.Process(run.pid).children()
    last = children[-1] if children else psutil.Process(run.pid)
    while not any("libtorch" in mapped.path for mapped in last.memory_maps()):
        time.sleep(0.001)
    for process in children:
        process.send_signal(signal.SIGTERM)
    run.send_signal(signal.SIGTERM)
    code, _, err = finish(run)
    assert code == 75, err
    assert "error: stopped by SIGTERM" in err
    assert not living(children, 2)


@pytest.mark.slow
def test_two_nodes_by_the_lines_that_are_printed(file: Path, tmp_path: Path, living: Living) -> None:
    """Two agents of torchrun on this machine, each with its own cache; then a process of one is killed."""
    run = tmp_path / "run"
    master = f"127.0.0.1:{launch._free_port()}"
    asked = (
        file,
        "--processes",
        1,
        "--out",
        run,
        *ENDLESS,
        "--print-launch",
        "--nodes",
        2,
        f"--master={master}",
    )
    code, out, err = finish(start(*asked, "--json"))
    assert code == 0, err
    lines = json.loads(out)["result"]["commands"]
    nodes = []
    for number, line in enumerate(lines):
        caches = {"CATLIPCTL_CACHE_DIR": str(tmp_path / f"cache-{number}")}
        torchrun, *arguments = shlex.split(line)
        assert torchrun == "torchrun"
        arguments.remove("--json")
        nodes.append(
            subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *arguments],
                **{**PIPES, "env": {**PIPES["env"], **caches}},
            )
        )
    wait_for_steps(run, 3, nodes[0])
    everyone = [process for node in nodes for process in below(node, at_least=3)]
    assert [len(list((tmp_path / f"cache-{number}").rglob("*"))) > 0 for number in range(2)] == [True, True]
    [row] = starts(run)
    assert row["processes"] == 2
    psutil.Process(nodes[1].pid).children()[0].kill()
    said = [finish(node)[2] for node in nodes]
    assert "error: process 1 of 2" in said[0], said
    end = json.loads((run / "exit.json").read_text())
    assert (end["exit_code"], end["rank"]) == (1, 1)
    assert "process 1 of 2" in end["message"]
    assert "is gone" in end["message"]
    assert not living(everyone, 5)
