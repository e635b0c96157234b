"""catlipctl doctor, as one types it."""

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from catlipctl.cli.doctor import doctor

app = typer.Typer()
app.command()(doctor)


def test_a_failed_check_is_exit_5_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = CliRunner().invoke(app, ["--cache-dir", str(tmp_path / "file" / "cache"), "--json"])
    assert run.exit_code == 5
    checks = {check["name"]: check for check in json.loads(run.stdout)["result"]["checks"]}
    assert checks["cache folder"]["status"] == "failed"
    assert "CATLIPCTL_CACHE_DIR" in checks["cache folder"]["mend"]


def test_a_ready_machine_is_exit_0(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["--cache-dir", str(tmp_path / "new")])
    assert run.exit_code == 0
    assert "Ready" in run.stdout
    assert not (tmp_path / "new").exists()
