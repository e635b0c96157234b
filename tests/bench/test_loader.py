"""What the loader benchmark times, and how it counts it; a picture from each path beside torchvision's."""

import builtins
import io
import statistics
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catlipctl.bench import loader as benchmark
from catlipctl.data import Source, open_source
from catlipctl.errors import DataError

COLOURS = [(40 * i, 250 - 40 * i, 90) for i in range(6)]


def shard(folder: Path, *, readable: bool = True) -> Source:
    """Six pictures of one colour each, in two formats, among them one that cannot be read."""
    with tarfile.open(folder / "source.tar", "w") as tar:
        for number, colour in enumerate([*COLOURS[:3], None, *COLOURS[3:]]):
            form = "jpeg" if number % 2 else "png"
            stream = io.BytesIO()
            if colour and readable:
                Image.new("RGB", (30, 20 + number), colour).save(stream, form, quality=100)
            else:
                stream.write(b"damaged")
            member = tarfile.TarInfo(f"{number}.{form}")
            member.size = stream.tell()
            stream.seek(0)
            tar.addfile(member, stream)
    return open_source(folder / "source.tar", need="images")


def test_rows_hold_the_rounds_and_ratios_within_them(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    result = benchmark.loader(shard(tmp_path), [16, 8], rounds=3)
    assert [(row.size, row.name) for row in result.rows] == [
        (size, name) for size in (16, 8) for name in ("fast", "exact", "webdataset")
    ]
    for first in (0, 3):
        *ours, reference = result.rows[first : first + 3]
        assert reference.ratio is None
        for row in ours:
            assert len(row.rounds) == 3
            assert row.images_per_second.median == statistics.median(row.rounds)
            ratios = [a / b for a, b in zip(row.rounds, reference.rounds, strict=True)]
            assert row.ratio is not None
            assert row.ratio.median == statistics.median(ratios)
    assert (result.images, result.formats) == (6, {"PNG": 4, "JPEG": 2})
    assert (result.width, result.height) == (30, 23)
    speeds, ratios = result.bars()
    assert list(speeds) == ["fast", "exact", "webdataset"]
    assert list(ratios) == ["fast", "exact"]
    assert ratios["exact"][8] == result.rows[4].ratio.median
    assert speeds["webdataset"][16] == result.rows[2].images_per_second.median


@pytest.mark.parametrize("workers", [0, 2])
def test_every_path_makes_chunks_of_the_same_pictures(tmp_path: Path, workers: int) -> None:
    pytest.importorskip("webdataset")
    source = shard(tmp_path)
    (tmp_path / "shards").mkdir()
    benchmark._write_shards(source, tmp_path / "shards", 100, max(1, workers), benchmark.SILENT)
    for chunks in (benchmark._ours("fast"), benchmark._ours("exact"), benchmark._webdataset):
        made = chunks(tmp_path / "shards", 8, workers)
        seen = np.concatenate([np.asarray(next(made)) for _ in range(2)])
        assert seen.dtype == np.uint8
        assert seen.shape == (128, 3, 8, 8)
        middles = seen[:, :, 4, 4].astype(int)
        nearest = np.abs(middles[:, None] - np.array(COLOURS)).max(2)
        assert nearest.min(1).max() <= 3
        assert set(nearest.argmin(1)) == set(range(6))


def test_at_most_so_many_images_are_taken(tmp_path: Path) -> None:
    source = shard(tmp_path)
    (tmp_path / "shards").mkdir()
    pictures = benchmark._write_shards(source, tmp_path / "shards", 4, 1, benchmark.SILENT)
    assert [picture.height for picture in pictures] == [20, 21, 22, 24]


def test_without_webdataset_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "webdataset":
            raise ModuleNotFoundError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    result = benchmark.loader(shard(tmp_path), [8], rounds=1)
    assert [(row.name, row.ratio) for row in result.rows] == [("fast", None), ("exact", None)]
    assert result.left_out == {"webdataset": "pip install webdataset"}


def test_a_source_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 of its images can be read"):
        benchmark.loader(shard(tmp_path, readable=False), [8])


def test_a_stream_is_timed_beside_random_access(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "source.tar", "w") as tar:
        for number in range(150):
            stream = io.BytesIO()
            Image.new("RGB", (20, 20), (number, 0, 0)).save(stream, "jpeg")
            member = tarfile.TarInfo(f"{number}.jpg")
            member.size = stream.tell()
            stream.seek(0)
            tar.addfile(member, stream)
    result = benchmark.loader(
        open_source(tmp_path / "source.tar", need="images"), [8], rounds=1, streamed=True
    )
    assert [row.name for row in result.rows] == ["fast", "window", "streamed", "webdataset"]
    for row in result.rows[:3]:
        assert row.ratio is not None
        assert row.ratio.median == pytest.approx(row.rounds[0] / result.rows[3].rounds[0])
