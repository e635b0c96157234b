import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from catlipctl.cli import recipe

app = typer.Typer()
app.command("list")(recipe.list_)
app.command("show")(recipe.show)
app.command("copy")(recipe.copy)


def test_list_show_copy_agree_with_the_files() -> None:
    listed = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)["result"]["recipes"]
    shipped = Path(__file__).parents[2] / "recipes"
    assert {entry["name"] for entry in listed} == {path.stem for path in shipped.glob("*.yaml")}
    assert all(entry["description"] for entry in listed)
    shown = CliRunner().invoke(app, ["show", "demo"])
    assert shown.stdout.strip() == (shipped / "demo.yaml").read_text().strip()


def test_copy_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["copy", "demo"]).exit_code == 0
    (tmp_path / "demo.yaml").write_text("mine")
    again = CliRunner().invoke(app, ["copy", "demo"])
    assert again.exit_code == 2
    assert "demo.yaml exists" in again.stderr
    assert (tmp_path / "demo.yaml").read_text() == "mine"
    assert CliRunner().invoke(app, ["copy", "demo", "other/mine.yaml"]).exit_code == 0
    assert (tmp_path / "other" / "mine.yaml").exists()


def test_an_unknown_name_gets_the_nearest_one() -> None:
    result = CliRunner().invoke(app, ["show", "dmeo"])
    assert result.exit_code == 2
    assert "did you mean demo?" in result.stderr
