"""Label sets that are not as one expects, through the commands that take one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from catlipctl import checkpoints, models
from catlipctl.cli.evaluation import fine_tune, linear_probe
from catlipctl.cli.transfer_init import transfer_init
from catlipctl.labels import wordnet
from catlipctl.settings.models import ModelSettings
from catlipctl.vocabulary import Vocabulary

app = typer.Typer()
app.command("transfer-init")(transfer_init)
app.command("lp")(linear_probe)
app.command("ft")(fine_tune)

COLOURS = {"dog": "red", "cat": "lime", "horse": "blue"}
KEYS = tuple(str(wordnet.nouns().key_of(f"{name}.n.01")) for name in COLOURS)
VOCABULARY = Vocabulary(
    keys=KEYS,
    counts=(9, 8, 7),
    extractor="corenet",
    extractor_version="1",
    source="pairs.tar",
    captions=50,
    captions_without_label=0,
    counted="occurrences",
    threshold=5,
)


def write_run(name: str, vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name="resnet10t", image_size=32), num_classes=len(vocabulary))
    checkpoints.write_step(Path("runs") / name, 1, tower=tower, config={}, vocabulary=vocabulary)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs/demo`, three animals in its vocabulary; photos/{train,test} of discs, 8 and 4 of each."""
    monkeypatch.chdir(tmp_path)
    write_run("demo", VOCABULARY)
    for split, count in (("train", 8), ("test", 4)):
        for name, colour in COLOURS.items():
            folder = Path("photos") / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (36 + i, 40), colour).save(folder / f"{i}.png")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--json"])


def found(*arguments: str) -> dict[str, Any]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout)["result"])


def error(result: Result, code: int) -> str:
    assert result.exit_code == code, result.output
    return str(json.loads(result.stdout)["error"]["message"])


def written(name: str, *labels: str) -> str:
    Path(name).write_text("".join(f"{label}\t{label}.n.01\n" for label in labels), encoding="utf-8")
    return name


def names(checkpoint: str) -> list[str]:
    return list(checkpoints.load(checkpoint).label_names or ())


def test_labels_in_another_order() -> None:
    """The target's order is the classifier's, never the alphabet; rows move with their labels."""
    some, others = written("some.tsv", "horse", "dog", "cat"), written("others.tsv", "cat", "horse", "dog")
    rows = []
    for target in (some, others):
        made = found("transfer-init", "--target", target)["checkpoint"]
        weight = checkpoints.load(made).tower.linear_head().weight
        rows.append(dict(zip(names(made), weight, strict=True)))
    assert list(rows[0]) == ["horse", "dog", "cat"]
    assert all(torch.equal(rows[0][label], rows[1][label]) for label in COLOURS)
    # Rows that were made in one order are found by name for the other.
    probes = [
        found("lp", source, "--data", "photos", "--target", others)
        for source in ("runs/demo", "runs/demo/transfer/some")
    ]
    for result in probes:
        assert names(result["checkpoint"]) == ["cat", "horse", "dog"]
        assert result["zero_shot_acc1"] == probes[0]["zero_shot_acc1"]


def test_a_class_without_images_has_no_place_in_the_classifier() -> None:
    target = written("mine.tsv", "cat", "wolf", "dog", "horse")
    for folder in ("photos/train/wolf", "photos/test/wolf"):
        Path(folder).mkdir()
    short = ["--set", "length.epochs=1", "--set", "global_batch_size=8"]
    for arguments in (["lp"], ["ft", *short]):
        result = run(arguments[0], "runs/demo", "--data", "photos", "--target", target, *arguments[1:])
        assert result.exit_code == 0, result.output
        assert "1 of the 4 labels of mine have no training image and no place in the classifier: wolf" in (
            " ".join(result.stderr.split())
        )
        checkpoint = json.loads(result.stdout)["result"]["checkpoint"]
        assert names(checkpoint) == ["cat", "dog", "horse"]
    Image.new("RGB", (40, 40)).save("photos/test/wolf/0.png")
    message = error(run("lp", "runs/demo", "--data", "photos", "--target", target), 3)
    assert "1 test images are of classes without training images: wolf" in message


def test_one_class_only() -> None:
    target = written("one.tsv", "dog")
    assert "one.tsv" not in error(run("transfer-init", "--target", target), 3)
    assert not Path("runs/demo/transfer/one").exists()
    detector = found("transfer-init", "--target", target, "--multi-label")
    assert detector["counts"]["exact"] == 1
    for name in ("cat", "horse"):
        for split in ("train", "test"):
            for file in (Path("photos") / split / name).iterdir():
                file.unlink()
    for command in ("lp", "ft"):
        assert "1 classes" in error(run(command, "runs/demo", "--data", "photos"), 3)


@pytest.mark.parametrize("command", ["transfer-init", "lp", "ft"])
def test_an_account_with_unknown_synsets(command: str) -> None:
    account = (
        Path(found("transfer-init", "--target", written("mine.tsv", *COLOURS))["checkpoint"]) / "account.csv"
    )
    text = account.read_text(encoding="utf-8")
    Path("account.csv").write_text(text.replace("horse.n.01", "horse.n.77 unicorn.n.88", 1), encoding="utf-8")
    data = [] if command == "transfer-init" else ["--data", "photos"]
    message = error(run(command, "--checkpoint", "runs/demo", *data, "--target", "account.csv"), 3)
    assert "account.csv: line 4: no WordNet 3.0 noun synset horse.n.77" in message
    assert "line 4: no WordNet 3.0 noun synset unicorn.n.88" in message


def test_a_vocabulary_of_another_extractor() -> None:
    """Sub-words are no synsets; the nouns of another extractor are."""
    target = written("mine.tsv", *COLOURS)
    write_run("nouns", replace(VOCABULARY, extractor="nouns"))
    assert found("transfer-init", "runs/nouns", "--target", target)["counts"]["exact"] == 3
    write_run("subword", replace(VOCABULARY, extractor="subword", keys=("320", "1929", "2368")))
    assert "all rows would be random" in error(run("transfer-init", "runs/subword", "--target", target), 3)
    probed = run("lp", "runs/subword", "--data", "photos", "--target", target)
    assert probed.exit_code == 0, probed.output
    assert "no prior from Transfer Init" in probed.stderr
    assert json.loads(probed.stdout)["result"]["prior"] == {}


def test_the_papers_way_reaches_the_evaluations() -> None:
    """A label with a word that is no noun has no row by the paper, and one by its head noun."""
    for split in ("train", "test"):
        (Path("photos") / split / "horse").rename(Path("photos") / split / "big horse")
    priors = {}
    for mapping in ("heads", "paper"):
        result = found("lp", "runs/demo", "--data", "photos", "--mapping", mapping)
        priors[mapping] = (result["mapping"], result["exact_classes"], result["prior"]["random"])
    assert priors == {"heads": ("heads", 3, 0), "paper": ("paper", 2, 1)}
    short = ["--set", "length.epochs=1", "--set", "global_batch_size=8"]
    tuned = found("ft", "runs/demo", "--data", "photos", "--mapping", "paper", *short)
    assert (tuned["recipe"]["mapping"], tuned["prior"]["random"]) == ("paper", 1)
