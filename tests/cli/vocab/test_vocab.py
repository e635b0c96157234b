"""`catlipctl vocab` on real pairs."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from catlipctl import vocabulary
from catlipctl.cli.vocab import build, overlap, show
from catlipctl.vocabulary import Vocabulary

app = typer.Typer()
for function in (build.build, show.show, overlap.overlap):
    app.command(function.__name__)(function)


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def built(here: Path) -> Path:
    keys = ("n02084071", "n02121620", "n02958343")
    made = Vocabulary(keys, (30, 20, 6), "corenet", "1", "pairs", 60, 5, "occurrences", 5, 2, 4)
    made.save(here / "vocabulary.json")
    return here / "vocabulary.json"


def test_build_counts_a_tar_and_never_overwrites(shared_data: Path, here: Path) -> None:
    tar = shared_data / "pairs" / "tuxpaint-000000.tar"
    document = json.loads(run("build", tar, "--threshold", 0, "--json").stdout)
    assert document["result"]["path"] == "vocabulary.json"
    found = vocabulary.load(here / "vocabulary.json")
    assert document["result"]["size"] == len(found) > 100
    assert document["result"]["captions"] == found.captions == 772
    assert document["result"]["inputs"]["sources"] == str(tar)
    assert "never overwritten" in run("build", tar, code=2).stderr
    refused = run("build", tar, "--out", "b.json", code=3)
    assert "at 5" in refused.stderr
    assert not (here / "b.json").exists()
