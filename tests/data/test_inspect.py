"""What `inspect` finds in sources whose contents are known."""

import json
from functools import partial

import numpy as np
import pytest

from catlipctl import labels
from catlipctl.data import open_source
from catlipctl.data.inspect import inspect

names = partial(labels.names, extractor="corenet")


def test_counts_and_spreads(tmp_path, png, write_tar):
    entries = []
    for number in range(10):
        image = b"no image" if number in (2, 5) else png(number)
        entries += [
            (f"{number}.png", image),
            (f"{number}.txt", b"x" * (number + 1)),
            (f"{number}.cls", b"ab"[number % 2 :][:1]),
        ]
    source = open_source(write_tar(tmp_path / "a.tar", [*entries, ("lost.png", png(0))]))
    found = inspect(source, lambda caption: ["n1"] if len(caption) > 3 else [], sample=None, workers=4)
    assert (found.samples, found.shards, found.forecast) == (10, 1, None)
    assert (found.sharing.workers, found.sharing.enough) == (4, False)
    assert found.faults == {"image without caption": 1}
    assert (found.images.looked_at, found.images.unreadable) == (10, 2)
    assert found.images.unreadable_examples == ["2", "5"]
    assert (found.images.width.median, found.images.height.maximum) == (4, 3)
    lengths = np.arange(1, 11)
    assert found.captions.characters.median == np.median(lengths)
    assert (found.captions.count, found.captions.samples_without_label) == (10, 3)
    assert found.classes == {"a": 5, "b": 5}
    assert found.parts == []


def test_what_is_said_and_seen_again(tmp_path, png, write_tar):
    said = [b"a dog", b"a dog", b"a cat", b"a dog", b"of the", b"a cat", b"a red car"]
    images = [1, 1, 2, 3, 1, 4, 5]
    tar = write_tar(
        tmp_path / "a.tar",
        [
            (f"{n}.{e}", b)
            for n, (text, image) in enumerate(zip(said, images, strict=True))
            for e, b in (("png", png(image)), ("txt", text))
        ],
    )

    def words(caption):
        return [word for word in caption.split() * 2 if len(word) == 3 and word != "the"]

    found = inspect(open_source(tar), words, sample=None)
    assert (found.images.repeated, found.images.repeated_examples) == (2, [("0", "1"), ("0", "4")])
    captions = found.captions
    assert captions.repeated == 3
    assert [(one.caption, one.count) for one in captions.most_repeated] == [("a dog", 3), ("a cat", 2)]
    assert (captions.count, captions.without_label, captions.samples_without_label) == (7, 1, 1)
    # In how many captions each is, however often.
    assert [(one.key, one.captions) for one in captions.labels][:2] == [("dog", 3), ("cat", 2)]
    assert captions.distinct_labels == len(captions.labels) == 4
    assert captions.examples == [text.decode() for text in said]


def test_an_image_is_repeated_under_the_same_key(tmp_path, png, write_tar):
    # Python has one object for each text of one character.
    tars = [write_tar(tmp_path / f"{name}.tar", [("0.png", png(1)), ("0.txt", b"a dog")]) for name in "ab"]
    found = inspect(open_source(tars), sample=None).images
    assert (found.repeated, found.repeated_examples) == (1, [("0", "0")])


def test_labels_are_counted_a_caption_not_a_sample(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(0))
    rows = [{"image": "a.png", "text": ["a dog", "xyzzy", "of the"]}, {"image": "a.png", "text": "plugh"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    captions = inspect(open_source(tmp_path / "a.jsonl"), labels.extractor(), names).captions
    assert (captions.count, captions.without_label, captions.samples_without_label) == (4, 3, 1)
    assert [(one.key, one.name) for one in captions.labels] == [("n02084071", "dog")]


def test_a_row_a_source(tmp_path, png, write_tar):
    for name, count in (("a", 2), ("b", 6)):
        entries = [
            (f"{i}.{e}", b)
            for i in range(count)
            for e, b in (("png", png(i) if i < 4 else b"bad"), ("txt", f"{name} {i % 3}".encode()))
        ]
        write_tar(tmp_path / f"{name}.tar", [*entries, ("z.txt", b"x")])
    source = open_source([f"{tmp_path}/a.tar=3", tmp_path / "b.tar"])
    found = inspect(source, lambda text: [text] if text.startswith("a") else [], sample=4)
    assert [(part.weight, part.samples, part.epoch, part.shards, part.faults) for part in found.parts] == [
        (3, 2, 6, 1, 1),
        (1, 6, 6, 1, 1),
    ]
    # Samples 0, 2, 4 and 7 of the eight.
    assert [(part.images_looked_at, part.images_unreadable) for part in found.parts] == [(1, 0), (3, 1)]
    assert [(part.captions, part.captions_without_label) for part in found.parts] == [(2, 0), (6, 6)]
    assert (found.samples, found.captions.count, found.captions.repeated) == (8, 8, 3)
    assert found.captions.examples[:3] == ["a 0", "a 1", "b 0"]


def test_a_sample_is_spread_over_the_source(tmp_path, png, write_tar):
    entries = [
        (f"{n:02d}.{e}", b)
        for n in range(50)
        for e, b in (("png", b"bad" if n == 49 else png(n)), ("txt", b"a"))
    ]
    found = inspect(open_source(write_tar(tmp_path / "a.tar", entries)), sample=5)
    assert (found.images.looked_at, found.images.unreadable_examples) == (5, ["49"])
    assert found.captions.samples_without_label is None


def test_real_pairs(shared_data):
    found = inspect(open_source(str(shared_data / "pairs/tuxpaint-*.tar")), labels.extractor(), sample=100)
    assert (found.samples, found.images.unreadable, found.captions.extractor) == (772, 0, "corenet")
    assert 0 < found.captions.samples_without_label < 100
    assert found.model_dump_json()


@pytest.mark.parametrize("need", ["labels", "any"])
def test_class_folders(tmp_path, png, need):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(png(0))
    found = inspect(open_source(tmp_path, need=need))
    assert (found.captions.count, found.captions.samples_without, found.classes) == (0, 1, {"cat": 1})
