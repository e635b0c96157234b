"""`catlipctl transfer-init` as a user types it, in a folder with one run."""

import json
import re
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from catlipctl import checkpoints, models
from catlipctl.cli.transfer_init import transfer_init
from catlipctl.labels import wordnet
from catlipctl.labels.targets import HOWS
from catlipctl.settings.models import ModelSettings
from catlipctl.vocabulary import Vocabulary

app = typer.Typer()
app.command()(transfer_init)


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs/demo` in the current folder, its vocabulary three animals."""
    monkeypatch.chdir(tmp_path)
    keys = tuple(str(wordnet.nouns().key_of(f"{name}.n.01")) for name in ("dog", "cat", "horse"))
    vocabulary = Vocabulary(
        keys=keys,
        counts=(9, 8, 7),
        extractor="corenet",
        extractor_version="1",
        source="pairs.tar",
        captions=50,
        captions_without_label=0,
        counted="occurrences",
        threshold=5,
    )
    tower = models.create(ModelSettings(name="resnet10t", image_size=32), num_classes=3)
    run = tmp_path / "runs" / "demo"
    checkpoints.write_step(run, 1, tower=tower, config={}, vocabulary=vocabulary)
    return run


def test_the_newest_run_by_default_and_never_overwritten(run: Path) -> None:
    first = CliRunner().invoke(app, ["--target", "cifar10"])
    assert first.exit_code == 0, first.output
    assert "runs/demo (newest run" in first.stderr
    assert "catlipctl predict IMAGE... --checkpoint runs/demo/transfer/cifar10" in first.stdout
    second = CliRunner().invoke(app, ["--target", "cifar10", "--json"])
    document = json.loads(second.stdout)
    assert document["result"]["checkpoint"] == "runs/demo/transfer/cifar10-2"
    assert document["result"]["inputs"]["target"] == "cifar10"
    counts = document["result"]["counts"]
    assert counts["exact"] == 3
    assert sum(counts.values()) == 10
    checkpoints.verify(run / "transfer" / "cifar10")


def test_head_only_and_target_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("hound\tdog.n.01\npets\tdog.n.01,cat.n.01\n", encoding="utf-8")
    arguments = [str(run), "--target", "mine.tsv", "--out", "out", "--head-only", "head.safetensors"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = checkpoints.load(run).tower.linear_head().weight
    head = load_file("head.safetensors")
    assert torch.allclose(head["weight"], torch.stack([rows[0], (rows[0] + rows[1]) / 2]))
    again = CliRunner().invoke(app, [*arguments[:5], "--head-only", "other.safetensors"])
    assert again.exit_code == 2
    assert "never overwritten" in again.stderr
    assert not Path("other.safetensors").exists()


def test_the_papers_way_and_the_summary_of_what_is_shared() -> None:
    """WordNet: a dog is above a hunting dog, which is above a hound; a big cat is no cat."""
    names = "dog\nhunting dog\nbig cat\ncat dog\nhorse/outdoor\nhound\n"
    Path("mine.txt").write_text(names, encoding="utf-8")
    found = {}
    for mapping in ("heads", "paper"):
        result = CliRunner().invoke(app, ["--target", "mine.txt", "--json", "--mapping", mapping])
        assert result.exit_code == 0, result.output
        found[mapping] = json.loads(result.stdout)["result"]
        rows = {row["label"]: row for row in found[mapping]["account"]}
        assert rows["dog"]["how"] == "exact"
        assert rows["cat dog"]["how"] == "averaged"
        assert rows["horse/outdoor"]["how"] == {"heads": "exact", "paper": "random"}[mapping]
        assert rows["big cat"]["how"] == "random"
    assert "2 of them have a word that is no noun: big cat, horse/outdoor" in result.stderr
    heads, paper = found["heads"], found["paper"]
    assert heads["counts"] == dict.fromkeys(HOWS, 0) | {"exact": 2, "similar": 1, "averaged": 1, "random": 2}
    assert (heads["shared"], heads["distinct_rows"], heads["guessed"]) == (2, 3, 6)
    assert paper["counts"] == dict.fromkeys(HOWS, 0) | {"exact": 1, "averaged": 1, "random": 4}
    assert (paper["shared"], paper["distinct_rows"]) == (0, 2)
    shown = CliRunner().invoke(app, ["--target", "mine.txt"])
    assert "by 3 distinct rows" in shown.stdout
    assert re.search(r"shared +2 ", shown.stdout)


def test_a_report_tells_what_is_nearest(run: Path) -> None:
    """Cosines by torch, path similarities by hand: a wolf is a canine as a dog is, two edges from it."""
    Path("mine.txt").write_text('dog\npuppy\ncat\nhorse\nwolf\nxy <zz> "y"\n', encoding="utf-8")
    arguments = ["--target", "mine.txt", "--report", "mine.html", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    labels = [row["label"] for row in found["account"]]
    near = dict(zip(labels, found["neighbours"], strict=True))
    assert near["wolf"]["classes"] == [
        {"synset": "wolf.n.01", "classes": ["dog.n.01"], "similarity": pytest.approx(1 / 3)}
    ]
    assert near["dog"]["classes"] == []
    assert near["dog"]["labels"][0] == {"label": "puppy", "cosine": 1.0}
    rows = checkpoints.load(found["checkpoint"]).tower.linear_head().weight.detach()
    rows = rows - rows.mean(0)
    for i, label in enumerate(labels):
        cosines = torch.nn.functional.cosine_similarity(rows[i : i + 1], rows)
        best = max((j for j in range(len(labels)) if j != i), key=lambda j: float(cosines[j]))
        assert near[label]["labels"][0]["cosine"] == pytest.approx(float(cosines[best]), abs=1e-4)
    page = Path("mine.html").read_text(encoding="utf-8")
    for title in ("Missed words", "Guessed senses", "Labels that share a row", "All labels"):
        assert f"<h2>{title}</h2>" in page
    assert "dog.n.01 (0.33)" in page
    assert "&lt;zz&gt;" in page
    assert "<zz>" not in page
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert not (run / "transfer" / "mine-2").exists()


def test_faults_have_their_exit_codes(run: Path) -> None:
    assert CliRunner().invoke(app, ["--target", "no-such-set"]).exit_code == 3
    assert CliRunner().invoke(app, ["nowhere", "--target", "cifar10"]).exit_code == 4
    checkpoints.write(run.parent / "bare", tower=checkpoints.load(run).tower, config={})
    result = CliRunner().invoke(app, ["runs/bare", "--target", "cifar10", "--json"])
    assert result.exit_code == 4
    assert "no vocabulary" in json.loads(result.stdout)["error"]["message"]


def test_guessed_senses_are_shown_before_anything_is_made(run: Path) -> None:
    Path("mine.txt").write_text("tabby\nseal\nxyzzy\nwalrus\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["--checkpoint", "nowhere", "--target", "mine.txt"])
    assert result.exit_code == 4  # and yet:
    line = next(line for line in result.stderr.splitlines() if " seal " in line)
    assert line.split()[:3] == ["2", "seal", "seal.n.09"]
    assert "no synset: line 3: xyzzy" in result.stderr
    assert "catlipctl labels --target mine.txt --out FILE.tsv" in result.stderr
    known = CliRunner().invoke(app, ["--checkpoint", str(run), "--target", "cifar10"])
    assert "guessed" not in known.stderr


def test_labels_that_exclude_each_other_and_others() -> None:
    Path("mine.tsv").write_text("hound\tdog.n.01\ncat\tcat.n.01\n", encoding="utf-8")
    for arguments, kind in (
        (["--target", "cifar10"], "single"),
        (["--target", "coco"], "multi"),
        (["--target", "mine.tsv"], "single"),
        (["--target", "mine.tsv", "--multi-label"], "multi"),
        (["--target", "coco", "--exclusive"], "single"),
    ):
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        folder = Path(json.loads(result.stdout)["result"]["checkpoint"])
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert config["catlipctl"]["problem_type"] == f"{kind}_label_classification"
