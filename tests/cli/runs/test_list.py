"""`catlipctl runs`."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from catlipctl.cli.main import app
from catlipctl.training.directory import RunDirectory


def run(*arguments: str, code: int = 0) -> Any:
    found = CliRunner().invoke(app, ["runs", *arguments])
    assert found.exit_code == code, found.output
    return found


def test_runs_are_listed_with_state_step_loss_and_speed() -> None:
    held = RunDirectory(Path("runs/begun"))
    assert held.lock()
    lines = run().stdout.splitlines()
    held.release()
    rows = {line.split()[0]: line for line in lines if line.strip().startswith("runs/")}
    assert "running" in rows["runs/begun"]
    assert "failed, exit 6   4 of 10      5      1,234" in rows["runs/failed"]
    assert "stopped" in rows["runs/stopped"]
    assert "runs/failed: why failed" in lines
    assert run("runs").stdout.split() == run("list", "runs").stdout.split()
    assert "runs/stopped" not in run("runs/failed").stdout


def test_what_is_no_folder_and_where_no_run_is() -> None:
    assert "no folder at nowhere" in run("nowhere", code=2).stderr
    Path("empty").mkdir()
    assert run("empty").stdout == "no run under empty/; start one: catlipctl pretrain\n"
    assert json.loads(run("empty", "--json").stdout)["result"]["runs"] == []
