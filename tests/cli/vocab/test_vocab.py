"""`catlipctl vocab` on real pairs."""

import csv
import json
import os
import subprocess
import sys
import time
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


def test_overlap_writes_plot_and_matches(built: Path, here: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run("overlap", "cifar10", built, "--out", "plots", "--json")
    document = json.loads(result.stdout)["result"]
    assert [Path(file).name for file in document["files"]] == [
        f"overlap-cifar10.{x}" for x in ("csv", "png", "svg")
    ]
    assert all((here / file).is_file() and file in result.stderr for file in document["files"])
    with (here / "plots" / "overlap-cifar10.csv").open() as stream:
        rows = {row["label"]: row for row in csv.DictReader(stream)}
    assert rows["dog"]["match_names"] == "dog.n.01"
    assert float(rows["dog"]["similarity"]) == 1
    assert document["exact"] == 3
    assert ">= 1/2" in run("overlap", "cifar10", built).stdout
    assert (here / "overlap-cifar10.png").is_file()


def test_without_plot_library_the_table_remains(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("overlap", "cifar10", built)
    assert "pip install 'catlipctl[plot]'" in result.stderr
    assert ">= 1/2" in result.stdout


@pytest.fixture
def newest(built: Path, here: Path) -> Path:
    """The younger of two runs, each with a vocabulary."""
    from catlipctl.checkpoints import manifest

    for age, name in ((100, "old"), (10, "new")):
        step = here / "runs" / name / "checkpoints" / "step-00000001"
        step.mkdir(parents=True)
        manifest.write(step)
        os.utime(step / "manifest.json", (time.time() - age,) * 2)
        (here / "runs" / name / "vocabulary.json").write_bytes(built.read_bytes())
    return here / "runs" / "new"


@pytest.mark.usefixtures("newest")
def test_the_newest_run_is_used_and_named(here: Path) -> None:
    result = run("overlap", "cifar10", "--json")
    first = result.stderr.splitlines()[0]
    assert first.startswith("vocabulary: runs/new/vocabulary.json (newest run, 1")
    assert json.loads(result.stdout)["result"]["inputs"]["vocabulary"] == "runs/new/vocabulary.json"
    assert (here / "runs" / "new" / "overlap-cifar10.csv").is_file()


def test_what_is_not_there(built: Path) -> None:
    assert "built in: imagenet" in run("overlap", "imagenet1k", built, code=3).stderr


@pytest.mark.usefixtures("newest")
def test_looking_at_a_vocabulary_needs_no_torch(here: Path) -> None:
    script = (
        "import sys\n"
        "from catlipctl.cli.main import app\n"
        "for words in ('show', 'show vocabulary.json', 'show runs/old', 'overlap cifar10'):\n"
        "    assert not app(['vocab', *words.split()], standalone_mode=False), words\n"
        "assert not {'torch', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=here)


def test_where_overlaps_go_and_that_none_is_overwritten(newest: Path, here: Path) -> None:
    def written(*arguments: object) -> str:
        files = json.loads(run("overlap", "cifar10", *arguments, "--json").stdout)["result"]["files"]
        assert all((here / file).is_file() for file in files)
        return str(Path(files[0]).absolute().relative_to(here))

    assert written(newest) == "runs/new/overlap-cifar10.csv"
    first = (newest / "overlap-cifar10.csv").stat().st_mtime_ns
    assert written("runs/new/vocabulary.json") == "runs/new/overlap-cifar10-2.csv"
    assert written() == "runs/new/overlap-cifar10-3.csv"
    assert (newest / "overlap-cifar10.csv").stat().st_mtime_ns == first
    step = newest / "checkpoints" / "step-00000001"
    (step / "vocabulary.json").write_bytes((newest / "vocabulary.json").read_bytes())
    assert written(step) == "runs/new/overlap-cifar10-4.csv"
    assert written("vocabulary.json") == "overlap-cifar10.csv"
    assert written("vocabulary.json", "--out", newest) == "runs/new/overlap-cifar10-5.csv"
