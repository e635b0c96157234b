"""What `inspect` finds in sources whose contents are known."""

import numpy as np
import pytest

from catlipctl.data import open_source
from catlipctl.data.inspect import inspect


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
    assert (found.samples, found.shards, found.shards_per_worker) == (10, 1, 0.25)
    assert found.faults == {"image without caption": 1}
    assert (found.images.looked_at, found.images.unreadable) == (10, 2)
    assert found.images.unreadable_examples == ["2", "5"]
    assert (found.images.width.median, found.images.height.maximum) == (4, 3)
    lengths = np.arange(1, 11)
    assert found.captions.characters.median == np.median(lengths)
    assert (found.captions.count, found.captions.samples_without_label) == (10, 3)
    assert found.classes == {"a": 5, "b": 5}


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
    from catlipctl import labels

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
