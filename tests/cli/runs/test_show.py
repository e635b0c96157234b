"""`catlipctl runs show`: plots in the terminal and as a file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catlipctl.cli.main import app


def run(*arguments: str, code: int = 0) -> Any:
    found = CliRunner().invoke(app, ["runs", *arguments])
    assert found.exit_code == code, found.output
    return found


def test_curves_are_drawn_in_the_terminal_and_named() -> None:
    found = run("show", "failed")
    lines = found.stdout.splitlines()
    assert {"loss", "learning rate", "images/s", "over samples seen"} <= {line.strip() for line in lines}
    plot = lines[next(i for i, line in enumerate(lines) if line.strip() == "loss") + 1 :][:10]
    # The loss falls from 8 to 5: its first dot is at the top left, its last one at the bottom right.
    assert plot[0].split()[0] == "8"
    assert plot[8].split()[0] == "5"
    assert 0x2800 < ord(plot[0][11]) <= 0x28FF
    assert 0x2800 < ord(plot[8].rstrip()[-1]) <= 0x28FF
    assert all(len(line) <= 110 for line in lines)
    assert plot[9].split() == ["8", "32"]


def test_several_runs_have_a_letter_each_where_there_is_no_colour() -> None:
    lines = run("show", "failed", "stopped", "begun").stdout.splitlines()
    assert lines[-2].split() == ["a", "failed", "b", "stopped", "c", "begun"]
    assert lines[-1] == "runs/begun has logged no step yet."
    assert any("bbb" in line for line in lines)
    assert not any(0x2800 <= ord(letter) <= 0x28FF for line in lines for letter in line)


def test_the_newest_is_shown_where_none_is_named_and_a_plot_is_written_once() -> None:
    pytest.importorskip("matplotlib")
    found = run("show", "--out", "plots")
    assert found.stderr.splitlines()[0].startswith("run: runs/stopped (at work last, ")
    assert Path("plots/curves.png").read_bytes().startswith(b"\x89PNG")
    assert "plots/curves.png exists" in run("show", "--out", "plots", code=2).stderr
    document = json.loads(run("show", "failed", "stopped", "--json").stdout)["result"]
    assert document["curves"]["runs/failed"]["learning rate"] == [[8 * step, 0.1] for step in range(1, 5)]
    assert [row["state"] for row in document["runs"]] == ["failed", "stopped"]
    assert "no run at nowhere" in run("show", "nowhere", code=2).stderr


def test_runs_are_listed_and_shown_without_torch() -> None:
    script = (
        "import sys\n"
        "from catlipctl.cli.main import app\n"
        "assert not app(['runs'], standalone_mode=False)\n"
        "assert not app(['runs', 'show'], standalone_mode=False)\n"
        "assert not {'torch', 'timm', 'accelerate'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
