"""`catlipctl vocab overlap`."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catlipctl import vocabulary

Vocab = Callable[..., Any]
DATA = ["result.json", "matches.csv"]
PLOTS = ["overlap", "occurrences", "coverage"]


def files(folder: str, *kinds: str) -> list[str]:
    return [f"{folder}/{name}" for name in [*DATA, *(f"{plot}.{kind}" for plot in PLOTS for kind in kinds)]]


@pytest.fixture
def other(built: Path, here: Path) -> Path:
    """The vocabulary without its last key, at another threshold."""
    made = vocabulary.load(built)
    (here / "other").mkdir()
    replace(made, keys=made.keys[:2], counts=made.counts[:2], threshold=10).save(
        here / "other" / "vocabulary.json"
    )
    return here / "other"


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the plot library is not installed; quick."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_plots_and_matches_are_written(vocab: Vocab, built: Path, here: Path) -> None:
    pytest.importorskip("matplotlib")
    result = vocab("overlap", "cifar10", built, "--out", "new/folder", "--json")
    document = json.loads(result.stdout)["result"]
    # What was asked for and no more: one folder, and nothing about no target.
    assert document["files"] == files("new/folder", "png")
    assert all(file in result.stderr for file in document["files"])
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()) == sorted(
        [*document["files"], "vocabulary.json"]
    )
    kept = json.loads((here / "new" / "folder" / "result.json").read_text())
    assert {name: value for name, value in kept.items() if name not in ("schema_version", "inputs")} == {
        name: value for name, value in document.items() if name != "inputs"
    }
    assert kept["inputs"]["target"] == "cifar10"
    with (here / "new" / "folder" / "matches.csv").open() as stream:
        rows = {row["label"]: row for row in csv.DictReader(stream)}
    assert rows["dog"]["match_names"] == "dog.n.01"
    assert (float(rows["dog"]["similarity"]), float(rows["dog"]["ceiling"])) == (1, 1)
    assert (rows["dog"]["count"], rows["dog"]["tied"], rows["dog"]["vocabulary"]) == ("30", "0", str(built))
    (compared,) = document["overlaps"]
    assert (compared["exact"], compared["classes"], document["senses"]) == (3, 10, "wnid")
    assert sorted(compared["occurrences"].values()) == [6, 20, 30]
    assert [row["recall"] for row in compared["coverage"]] == [0.3, 0.2, 0.1]  # at 5, 10, 20
    assert len(compared["matches"]) == 10


@pytest.mark.parametrize(
    ("plots", "kinds"), [("none", ()), ("png", ("png",)), ("svg", ("svg",)), ("all", ("png", "svg"))]
)
def test_plots_of_the_kinds_asked_for(
    plots: str, kinds: tuple[str, ...], vocab: Vocab, built: Path, here: Path
) -> None:
    pytest.importorskip("matplotlib")
    vocab("overlap", "cifar10", built, "--plots", plots)
    folder = here / "overlap-cifar10"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        Path(file).name for file in files("overlap-cifar10", *kinds)
    )


def test_a_folder_that_is_there_is_refused(vocab: Vocab, built: Path, here: Path) -> None:
    (here / "mine").mkdir()
    assert "mine exists" in vocab("overlap", "cifar10", built, "--out", "mine", code=2).stderr
    assert "'none', 'png', 'svg', 'all'" in vocab("overlap", "cifar10", "--plots", "pdf", code=2).stderr


@pytest.mark.usefixtures("no_plots")
def test_the_tables_name_what_they_show(vocab: Vocab, built: Path) -> None:
    shown = vocab("overlap", "cifar10", built).stdout
    for text in ("its own synsets", ">= 1/2", "what corenet can reach", "3 (30.0%)", "recall", "precision"):
        assert text in shown
    assert "30.0%      100.0%" in shown


def test_several_side_by_side(vocab: Vocab, built: Path, other: Path, here: Path) -> None:
    pytest.importorskip("matplotlib")
    result = vocab("overlap", "cifar10", built, other, "--json")
    document = json.loads(result.stdout)["result"]
    assert [compared["exact"] for compared in document["overlaps"]] == [3, 2]
    assert [compared["coverage"][0]["threshold"] for compared in document["overlaps"]] == [5, 10]
    assert document["inputs"]["vocabularies"] == f"{built} {other / 'vocabulary.json'}"
    assert document["files"] == files("overlap-cifar10", "png")
    with (here / "overlap-cifar10" / "matches.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 20


@pytest.mark.usefixtures("no_plots")
def test_several_in_one_table(vocab: Vocab, built: Path, other: Path) -> None:
    shown = vocab("overlap", "cifar10", built, other).stdout
    assert re.search(r"similarity +vocabulary.json +other +what corenet can reach", shown)
    assert re.search(r">= 1 +3 \(30.0%\) +2 \(20.0%\)", shown)
    assert re.search(r"\n +5 +3 +30.0% +100.0% *\n +10 +2 +20.0% +100.0% +2 +20.0% +100.0% *\n", shown)


@pytest.mark.usefixtures("no_plots")
def test_senses_extracted_from_the_names(vocab: Vocab, built: Path) -> None:
    document = json.loads(vocab("overlap", "cifar10", built, "--senses", "extracted", "--json").stdout)
    result = document["result"]
    assert result["senses"] == result["overlaps"][0]["senses"] == "extracted"
    assert result["files"] == files("overlap-cifar10-extracted")
    # corenet drops the synonym automobile; cat and dog remain.
    assert result["overlaps"][0]["exact"] == 2
    assert "'wnid', 'extracted'" in vocab("overlap", "cifar10", built, "--senses", "own", code=2).stderr


def test_sub_words_are_refused_by_name(vocab: Vocab, built: Path, other: Path, here: Path) -> None:
    words = replace(vocabulary.load(built), extractor="subword", keys=("dog</w>", "a</w>", "the</w>"))
    words.save(here / "words.json")
    refused = vocab("overlap", "cifar10", built, "words.json", other, code=3).stderr
    assert "words.json holds sub-words, such as dog</w>" in refused
    assert "--extractor corenet" in refused
    assert not list(here.glob("overlap-*"))


@pytest.mark.usefixtures("no_plots")
def test_without_plot_library_the_table_remains(vocab: Vocab, built: Path) -> None:
    result = vocab("overlap", "cifar10", built)
    assert result.stderr.count("pip install 'catlipctl[plot]'") == 1
    assert ">= 1/2" in result.stdout


@pytest.mark.usefixtures("newest", "no_plots")
def test_the_newest_run_is_used_and_named(vocab: Vocab, here: Path) -> None:
    result = vocab("overlap", "cifar10", "--json")
    first = result.stderr.splitlines()[0]
    assert first.startswith("vocabulary: runs/new/vocabulary.json (newest run, 1")
    assert json.loads(result.stdout)["result"]["inputs"]["vocabulary"] == "runs/new/vocabulary.json"
    assert (here / "runs" / "new" / "overlap-cifar10" / "matches.csv").is_file()


def test_no_such_target(vocab: Vocab, built: Path) -> None:
    assert "built in: imagenet" in vocab("overlap", "--target", "imagenet1k", built, code=3).stderr


@pytest.mark.parametrize("words", [["runs/new"], ["runs/new/vocabulary.json"], ["imagenet1k"], []])
def test_a_vocabulary_is_not_taken_for_the_target(words: list[str], vocab: Vocab, newest: Path) -> None:
    assert (newest / "vocabulary.json").is_file()
    said = vocab("overlap", *words, code=2).stderr
    assert said.splitlines()[0] == "error: no target is named"
    assert "name one by --target: imagenet, " in said


@pytest.mark.usefixtures("no_plots")
def test_a_file_may_still_come_first(vocab: Vocab, built: Path, here: Path) -> None:
    (here / "mine.tsv").write_text("dog\tdog.n.01\ncat\tcat.n.01\n", encoding="utf-8")
    assert json.loads(vocab("overlap", "mine.tsv", built, "--json").stdout)["result"]["target"] == "mine"


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


@pytest.mark.usefixtures("no_plots")
def test_where_overlaps_go_and_that_none_is_overwritten(vocab: Vocab, newest: Path, here: Path) -> None:
    def written(*arguments: object) -> str:
        files = json.loads(vocab("overlap", "cifar10", *arguments, "--json").stdout)["result"]["files"]
        assert all((here / file).is_file() for file in files)
        (folder,) = {Path(file).absolute().parent for file in files}
        return str(folder.relative_to(here))

    assert written(newest) == "runs/new/overlap-cifar10"
    first = (newest / "overlap-cifar10" / "result.json").stat().st_mtime_ns
    assert written("runs/new/vocabulary.json") == "runs/new/overlap-cifar10-2"
    assert written() == "runs/new/overlap-cifar10-3"
    assert (newest / "overlap-cifar10" / "result.json").stat().st_mtime_ns == first
    step = newest / "checkpoints" / "step-00000001"
    (step / "vocabulary.json").write_bytes((newest / "vocabulary.json").read_bytes())
    assert written(step) == "runs/new/overlap-cifar10-4"
    assert written("vocabulary.json") == "overlap-cifar10"
    assert written("vocabulary.json", "--out", newest / "mine") == "runs/new/mine"
    assert written(newest, step) == "runs/new/overlap-cifar10-5"
    assert written(newest, "runs/old") == "overlap-cifar10-2"
