"""A tagger from captioned images: what it writes, what it says of itself, and what `predict` makes of it."""

import json
from pathlib import Path

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from typer.testing import CliRunner

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.cli.main import app
from catlipctl.data import open_source
from catlipctl.errors import DataError, UsageError
from catlipctl.labels import targets
from catlipctl.transfer.features import extract
from catlipctl.transfer.tagging import captions, fit_tagger, tagger_of
from catlipctl.vocabulary import Encoder, Vocabulary

from ..conftest import COLOURS, draw

SAID = {
    "dog": "a dog in a kitchen",
    "cat": "the cat sleeps",
    "truck": "a red truck and a bicycle",
    "spoon": "a spoon and a fork",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders `fit` and `test`: 12 and 8 captioned images of each kind."""
    folder = tmp_path_factory.mktemp("captioned")
    for split, count, start in (("fit", 12, 0), ("test", 8, 5000)):
        for c, (name, colour) in enumerate(COLOURS.items()):
            for i in range(count):
                path = folder / split / f"{name}{i:02d}.png"
                draw(path, colour, start + 100 * c + i)
                path.with_suffix(".txt").write_text(SAID[name])
    return {split: folder / split for split in ("fit", "test")}


def answers(
    checkpoint: Checkpoint, folder: Path, vocabulary: Vocabulary
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, probabilities by the module itself, and what the captions name."""
    source = open_source(folder)
    features = extract(checkpoint.tower, source).values
    with torch.inference_mode():
        logits = checkpoint.tower.linear_head()(features)
    named = torch.zeros(logits.shape, dtype=torch.bool)
    for row in range(len(source)):
        named[row, Encoder(vocabulary)(source[row])] = True
    return logits, logits.sigmoid(), named


def test_figures_are_those_of_the_thresholds_that_are_written(
    checkpoint: Checkpoint, vocabulary: Vocabulary, photos: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "tagger"
    fit, test = (open_source(folder) for folder in photos.values())
    result = fit_tagger(checkpoint, fit, test, min_images=8, out=out)
    tagger = checkpoints.load(out)
    assert tagger.thresholds is not None
    logits, chances, named = answers(tagger, photos["test"], vocabulary)
    ids = torch.where(named.sum(0) >= 8)[0]
    assert len(ids) == result.measured_classes == 8
    told = chances >= torch.tensor(tagger.thresholds)
    for average, figure in (("macro", result.each.macro_f1), ("micro", result.each.micro_f1)):
        theirs = f1_score(named[:, ids], told[:, ids], average=average, zero_division=0)
        assert figure == pytest.approx(theirs)
    theirs = f1_score(named[:, ids], told[:, ids], average=None, zero_division=0)
    assert [row.f1 for row in result.per_class] == pytest.approx(list(theirs))
    theirs = average_precision_score(named[:, ids].numpy(), logits[:, ids].numpy(), average="macro")
    assert result.macro_map == pytest.approx(theirs)
    assert result.gain == pytest.approx(result.each.macro_f1 - result.one.macro_f1)
    assert result.labels_per_image == pytest.approx(float(named[:, ids].float().sum(1).mean()))
    written = json.loads((out / "result.json").read_text())
    assert written["each"]["macro_f1"] == result.each.macro_f1
    assert [label.threshold for label in result.per_class] == [tagger.thresholds[i] for i in ids.tolist()]


def test_parts_are_measured_by_thresholds_of_the_others(
    checkpoint: Checkpoint, photos: dict[str, Path]
) -> None:
    source = open_source(photos["fit"])
    by_parts = fit_tagger(checkpoint, source, min_images=8)
    on_itself = fit_tagger(checkpoint, source, source, min_images=8)
    assert by_parts.one.macro_f1 < on_itself.one.macro_f1
    assert (by_parts.test_images, by_parts.train_images) == (48, 48)
    assert fit_tagger(checkpoint, source, min_images=8).each == by_parts.each
    best = max(macro for _, macro, _ in on_itself.curve)
    assert on_itself.one.macro_f1 == pytest.approx(best)


def test_what_cannot_be_a_tagger_is_told(
    checkpoint: Checkpoint, photos: dict[str, Path], tmp_path: Path
) -> None:
    source = open_source(photos["fit"])
    with pytest.raises(DataError, match="no class is named by the captions of 20 images"):
        fit_tagger(checkpoints.load(checkpoint.path or ""), source)
    checkpoints.write(tmp_path / "other", tower=checkpoint.tower, config={}, label_names=list("abcdefgh"))
    with pytest.raises(UsageError, match="does not tell by itself what captions name"):
        fit_tagger(checkpoints.load(tmp_path / "other"), source)


def test_tags_are_named_by_their_kinds_as_nltk_has_them(vocabulary: Vocabulary, nltk_data: Path) -> None:
    from nltk.corpus import wordnet as nltk_wordnet

    assert nltk_data
    tags = targets.listed("animal,vehicle,cutlery,dog,kitchen_fork,quark")
    naming = captions.of_tags(tags, vocabulary)
    said = [
        "a dog in a kitchen",
        "a red truck and a bicycle",
        "a spoon and a fork",
        "a fork in a kitchen",
        "sky",
    ]
    for text in said:
        nouns = [sense for word in text.split() for sense in nltk_wordnet.synsets(word, "n")[:1]]
        above = {one for noun in nouns for path in noun.hypernym_paths() for one in path}
        expected = []
        for number, label in enumerate(tags.labels):
            wanted = [nltk_wordnet.synset_from_pos_and_offset("n", int(key[1:])) for key in label.synsets]
            if wanted and all(synset in above for synset in wanted):
                expected.append(number)
        assert naming([text]) == expected, text
    assert naming(["a dog", "a truck"]) == [0, 1, 3], "captions of one image are one"


def test_a_tag_has_the_rows_and_thresholds_of_its_kinds(checkpoint: Checkpoint, tmp_path: Path) -> None:
    odds = torch.linspace(-3, 1, 8, dtype=torch.float64)
    path = checkpoints.write(
        tmp_path / "tagger",
        tower=checkpoint.tower,
        vocabulary=checkpoint.vocabulary,
        config={"thresholds": odds.sigmoid().tolist()},
    )
    found = tagger_of(checkpoints.load(path), targets.listed("animal,dog,quark"))
    assert found.label_names == ["animal", "dog"]
    head, old = found.tower.linear_head(), checkpoint.tower.linear_head()
    assert torch.allclose(head.weight[0], old.weight[[0, 1]].mean(0))
    assert torch.allclose(head.bias, torch.stack([old.bias[[0, 1]].mean(), old.bias[0]]))
    expected = torch.stack([odds[[0, 1]].mean(), odds[0]]).sigmoid().tolist()
    assert found.thresholds == pytest.approx(expected)
    assert "thresholds" not in checkpoints.load(path).config
    with pytest.raises(DataError, match="none of the tags means anything in WordNet: line 1: qwrt"):
        targets.listed("qwrt,zzxx")
    with pytest.raises(DataError, match=r"no class of .* is like any of the tags"):
        tagger_of(checkpoint, targets.listed("quark"))


def test_predict_tells_what_passes(run: Path, photos: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "tagger"

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return done.stdout

    fit = ("eval", "tag", "--checkpoint", str(run), "--data", str(photos["fit"]), "--min-images", "8")
    shown = " ".join(call(*fit, "--out", str(out), "--plots", "none").split())
    assert "one a class" in shown
    assert "8 of 8, each in 8 images or more" in shown
    tagger = checkpoints.load(out)
    image = photos["test"] / "dog00.png"
    told = json.loads(call("predict", str(image), "--checkpoint", str(out), "--json"))["result"]["images"][0]
    assert tagger.vocabulary is not None
    _, chances, _ = answers(tagger, photos["test"], tagger.vocabulary)
    row = sorted(path.name for path in photos["test"].glob("*.png")).index("dog00.png")
    names = tagger.label_names or []
    passing = chances[row] >= torch.tensor(tagger.thresholds)
    expected = {name for name, passes in zip(names, passing.tolist(), strict=True) if passes}
    assert {label["label"] for label in told["labels"]} == expected
    top = json.loads(call("predict", str(image), "--checkpoint", str(out), "--top", "3", "--json"))
    assert len(top["result"]["images"][0]["labels"]) == 3
    tags = ("--tags", "animal,vehicle", "--top", "2", "--json")
    labels = json.loads(call("predict", str(image), "--checkpoint", str(out), *tags))["result"]["images"][0]
    assert {label["label"] for label in labels["labels"]} == {"animal", "vehicle"}
    pytest.importorskip("matplotlib")
    call("report", str(out), "--out", str(tmp_path / "page.html"))
    assert "is the macro F1 of 8 labels" in (tmp_path / "page.html").read_text()
    assert "every label told" in call("compare", str(out))
