"""One grammar: SOURCE, TARGET and CHECKPOINT are options everywhere; help and completion fit."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import catlipctl
from catlipctl.cli.main import app


def leaves(group: Any, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not hasattr(group, "commands"):
        return [(words, group)]
    return [leaf for name, inner in group.commands.items() for leaf in leaves(inner, (*words, name))]


COMMANDS = leaves(typer.main.get_command(app))


@pytest.mark.parametrize(
    ("words", "command"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_what_all_commands_share_is_an_option_in_each(words: tuple[str, ...], command: Any) -> None:
    shown = [param for param in command.params if param.param_type_name == "argument" and not param.hidden]
    assert not {"SOURCE", "TARGET", "CHECKPOINT"} & {(param.metavar or "").rstrip(".") for param in shown}
    spelled = {"SOURCE": "--data", "TARGET": "--target", "CHECKPOINT": "--checkpoint"}
    for param in command.params:
        kind = (param.metavar or "").removesuffix("[=WEIGHT]")
        if (
            param.param_type_name == "option"
            and kind in spelled
            and not {"--test", "--probe"} & {*param.opts}
        ):
            assert spelled[kind] in param.opts
    help = CliRunner().invoke(app, [*words, "--help"]).stdout
    assert not re.search(r"<[a-z]|list\[|\{[A-Z]|\]\.\.\.", help), help


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(*arguments: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_the_old_spelling_of_a_source_and_a_target_says_the_same() -> None:
    old = document("vocab", "build", "emoji:pairs", "--threshold", "0", "--out", "old.json")
    new = document("vocab", "build", "--data", "emoji:pairs", "--threshold", "0", "--out", "new.json")
    assert Path("old.json").read_bytes() == Path("new.json").read_bytes()
    assert old["result"]["inputs"] == new["result"]["inputs"]
    before = document("vocab", "overlap", "cifar10", "new.json", "--out", "a")["result"]
    after = document("vocab", "overlap", "--target", "cifar10", "new.json", "--out", "b")["result"]
    assert before["overlaps"] == after["overlaps"]
    assert after["overlaps"][0]["exact"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vocab", "build", "--data", "a.tar", "b.tar"], "b.tar stands without --data"),
        (["checkpoint", "inspect", "a", "--checkpoint", "b"], "--checkpoint is given twice"),
        (["vocab", "overlap"], "no target is named"),
        (["data", "inspect"], "no source is named"),
    ],
)
def test_nothing_is_named_twice_or_not_at_all(arguments: list[str], says: str) -> None:
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert says in found.stderr


def test_the_version_has_a_short_option_and_the_package_is_a_command() -> None:
    line = [sys.executable, "-m", "catlipctl", "-V"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == (
        f"catlipctl {catlipctl.__version__}\n"
    )


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("vocab overlap --target image", ["imagenet", "imagenet21k"]),
        ("labels --extractor n", ["nouns"]),
        ("pretrain dem", ["demo"]),
        ("pretrain m", ["mine.yaml"]),
        ("eval lp --checkpoint r", ["runs/one", "runs/"]),
        ("vocab show v", ["v.json"]),
        ("data inspect --data shards/", ["shards/0.tar"]),
    ],
)
def test_the_shell_is_offered_names_and_files(typed: str, offered: list[str]) -> None:
    Path("runs/one").mkdir(parents=True)
    Path("shards").mkdir()
    for name in ("runs/one/recipe.yaml", "mine.yaml", "v.json", "shards/0.tar", "shards/0.md"):
        Path(name).touch()
    words = f"catlipctl {typed}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    script = "import sys; sys.argv = ['catlipctl']; from catlipctl.cli.main import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked, "_CATLIPCTL_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == offered
