"""`catlipctl vocab` in an empty folder."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catlipctl.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def vocab() -> Callable[..., Any]:
    """Runs `catlipctl vocab ARGUMENTS...` and asserts its exit code."""
    from catlipctl.cli.main import app

    def run(*arguments: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["vocab", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def built(here: Path) -> Path:
    """dog, cat and car; two rarer keys were dropped."""
    keys = ("n02084071", "n02121620", "n02958343")
    faults = {"caption not UTF-8": 3, "truncated shard": 1}
    made = Vocabulary(
        keys, (30, 20, 6), "corenet", "1", "pairs", 60, 5, "occurrences", 5, 2, 4, faults=faults
    )
    made.save(here / "vocabulary.json")
    return here / "vocabulary.json"


@pytest.fixture
def newest(built: Path, here: Path) -> Path:
    """The younger of two runs, each with a vocabulary."""
    from catlipctl.checkpoints.writing import write_manifest

    for age, name in ((100, "old"), (10, "new")):
        step = here / "runs" / name / "checkpoints" / "step-00000001"
        step.mkdir(parents=True)
        write_manifest(step)
        os.utime(step / "manifest.json", (time.time() - age,) * 2)
        (here / "runs" / name / "vocabulary.json").write_bytes(built.read_bytes())
    return here / "runs" / "new"
