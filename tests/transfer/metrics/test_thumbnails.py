"""Pictures of mistakes: which are kept, and what a reader that we did not write sees in them."""

import base64
import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from catlipctl.data import open_source
from catlipctl.errors import DataError
from catlipctl.reports import mistakes as shown
from catlipctl.transfer.metrics import Answers
from catlipctl.transfer.metrics.answers import MISTAKES, PREDICTIONS
from catlipctl.transfer.metrics.thumbnails import EACH, PAIRS, typical_mistakes


def test_the_surest_of_the_pairs_that_are_confused_most() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 6, generator=generator)
    labels = torch.randint(0, 6, (400,), generator=generator)
    chances = logits.softmax(1)
    counts: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for place, label in enumerate(labels.tolist()):
        said = int(logits[place].argmax())
        if said != label:
            counts.setdefault((label, said), []).append((-float(chances[place, said]), place))
    pairs = sorted(counts, key=lambda pair: (-len(counts[pair]), pair))[:PAIRS]
    expected = [(place, *pair) for pair in pairs for _, place in sorted(counts[pair])[:EACH]]
    found = typical_mistakes(logits, labels)
    assert [(one.place, one.truth, one.predicted) for one in found] == expected
    assert [one.probability for one in found] == pytest.approx(
        [float(chances[place, said]) for place, _, said in expected]
    )
    assert typical_mistakes(torch.eye(3), torch.arange(3)) == []


def test_pictures_are_small_and_a_report_reads_them(tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "lime", "blue")):
        Image.new("RGB", (400, 200), colour).save(tmp_path / f"{number}.png")
    source = open_source(tmp_path, need="images")
    answers = Answers(torch.eye(3), torch.tensor([0, 2, 1]), ["a", "b", "c"], source)
    files = answers.files(["cat", "dog", "cow"])
    assert set(files) == {PREDICTIONS, MISTAKES}
    (tmp_path / MISTAKES).write_text(files[MISTAKES])
    rows = json.loads(files[MISTAKES])
    assert [(row["sample"], row["truth"], row["predicted"]) for row in rows] == [
        ("c", "dog", "cow"),
        ("b", "cow", "dog"),
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(rows[0]["jpeg"])))
    assert (picture.format, picture.size) == ("JPEG", (96, 48))
    assert picture.getpixel((40, 20))[2] > 200
    read = shown.read(tmp_path / MISTAKES)
    assert [one.probability for one in read] == [row["probability"] for row in rows]
    pytest.importorskip("matplotlib")
    (axes,) = shown.pictures(read).draw().axes
    assert len(axes.images) == 2
    assert any("dog" in text.get_text() and "(cow)" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("jpeg", ["AAAA", "not base64!"])
def test_a_picture_that_is_none_is_refused(tmp_path: Path, jpeg: str) -> None:
    row = {"sample": "a", "truth": "x", "predicted": "y", "probability": 0.5, "jpeg": jpeg}
    (tmp_path / MISTAKES).write_text(json.dumps([row]))
    with pytest.raises(DataError):
        shown.read(tmp_path / MISTAKES)
