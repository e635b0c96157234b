"""A stream's samples: those of its tars wherever they lie; of a shard not as counted, by arithmetic."""

import json
import os
from itertools import count
from pathlib import Path

import fsspec
import numpy as np
import pytest

from catlipctl.data import open_source
from catlipctl.data.batch import Step
from catlipctl.data.content import content_hash
from catlipctl.data.loader import Loader
from catlipctl.data.order import LocalOrder
from catlipctl.data.sources import Streaming
from catlipctl.data.sources.storage import ReadFailed, retries
from catlipctl.data.sources.streams import StreamSource
from catlipctl.data.sources.tars import TarSource
from catlipctl.data.transform import TrainTransform
from catlipctl.errors import DataError, UsageError
from catlipctl.settings.data import Augmentation
from catlipctl.training.steps import Length, Sizes, schedule

STREAM = Streaming(window=2, cache_bytes=10**8)


def ledger(source, workers: int, first: int = 0, steps: int = 18) -> list[tuple[int, int, list[int]]]:
    """Step, size and sample ids of some steps of a run over two and a half epochs, in two sizes."""
    plan = schedule(Length(samples=150), 8, base_size=16, sizes=Sizes(min=16, max=32, scales=2), seed=4)
    order = LocalOrder(source.shard_sizes, 3, STREAM.window)
    load = Loader(source, order, TrainTransform(Augmentation(), 0), lambda *_: {}, workers)
    wanted = ((plan[n], [range(plan[n].rows)]) for n in range(first, min(steps, len(plan))))
    return [(b[0].step.index, b[0].step.size, b[0].samples.tolist()) for b in load(wanted)]


def test_the_ledger_is_the_same_wherever_the_shards_lie(folder, in_memory, serve, tmp_path, png):
    requests: list[tuple[str, int]] = []
    url = serve(folder, drops=10, delays=7, numbers=count(1), requests=requests)
    before = retries()
    opened = {
        "local": open_source(folder, streaming=STREAM, cache_dir=tmp_path / "a"),
        "memory": open_source(f"{in_memory(folder)}/*.tar", streaming=STREAM, cache_dir=tmp_path / "b"),
        "http": open_source(f"{url}/{{00000..00006}}.tar", streaming=STREAM, cache_dir=tmp_path / "c"),
    }
    assert isinstance(opened["local"], TarSource)
    assert isinstance(opened["memory"], StreamSource)
    expected = ledger(opened["local"], 0)
    assert {size for _, size, _ in expected} == {16, 32}
    for name in ("memory", "http"):
        for workers in (0, 2):
            assert ledger(opened[name], workers) == expected, (name, workers)
        assert ledger(opened[name], 1, first=9) == expected[9:], "resumed with other workers"
    stream = opened["http"]
    assert isinstance(stream, StreamSource)
    assert [stream[i] for i in range(58)] == [opened["local"][i] for i in range(58)]
    assert list(stream.captions()) == list(opened["local"].captions())
    assert stream[-1].image == png(130)
    # Connections dropped: gone on with where they were, each piece of a shard asked for once but for these.
    dropped = len(requests) - len(set(requests))
    assert dropped >= 3
    assert retries() - before >= 3
    assert stream.faults == {}


def test_a_stream_that_is_gone_stops_with_its_address(folder, serve, tmp_path):
    url = serve(folder)
    stream = open_source(f"{url}/{{00000..00006}}.tar", streaming=STREAM, cache_dir=tmp_path / "c")
    serve.stop(url)
    for workers in (0, 1):
        with pytest.raises(ReadFailed, match=rf"{url}/0000\d\.tar cannot be read") as error:
            ledger(stream, workers)
        assert error.value.exit_code == 3


def write(folder: Path, write_tar, png, shard: int, samples: int) -> None:
    entries = [
        (f"{shard}-{n}.{kind}", body)
        for n in range(samples)
        for kind, body in (("png", png(20 * shard + n)), ("txt", f"caption {shard} {n}".encode()))
    ]
    write_tar(folder / f"{shard:05d}.tar", entries)


def test_a_shard_that_is_not_as_counted_is_made_up_for_by_itself(
    folder, in_memory, tmp_path, png, write_tar, progress
):
    (folder / "sizes.json").write_text(json.dumps({f"{shard:05d}.tar": 7 for shard in range(7)}))
    write(folder, write_tar, png, 2, 0)  # none of its seven
    tar = folder / "00003.tar"
    tar.write_bytes(tar.read_bytes()[: 512 * 4 * 3 + 100])  # three whole samples, then a cut
    url = f"{in_memory(folder)}/*.tar"
    stream = open_source(url, streaming=STREAM, cache_dir=tmp_path / "c", progress=progress)
    assert len(stream) == 49
    said = [stream[i].captions[0] for i in range(49)]
    assert said[:7] == [f"caption 0 {n % 5}" for n in range(7)], "five samples, two of them again"
    assert said[7:14] == [f"caption 1 {n}" for n in range(7)], "two of nine are left out"
    assert said[14:21] == [f"caption 3 {n % 3}" for n in range(7)], "those of the next shard"
    assert said[21:28] == [f"caption 3 {n % 3}" for n in range(7)]
    assert stream.faults == {
        "sample missing from its shard": 2 + 4 + 1,
        "sample beyond its shard's count": 2 + 1 + 4,
        "truncated shard": 1,
        "shard without samples": 1,
    }
    assert sum("missing from its shard" in warning for warning in progress.warnings) == 1, "told once a kind"
    assert any("2 samples missing from its shard" in warning for warning in progress.warnings)
    with pytest.raises(DataError, match="holds 5 samples, not the 7 that were counted") as error:
        open_source(url, streaming=STREAM, cache_dir=tmp_path / "d", strict=True)
    assert "data index" in error.value.hint
    # With workers too the faults are told by the process that trains.
    stream = open_source(url, streaming=STREAM, cache_dir=tmp_path / "e", progress=progress)
    ledger(stream, 2)
    assert stream.faults["shard without samples"] == 1


def test_keys_that_no_shard_has_are_told_on_opening(folder, in_memory, tmp_path):
    with pytest.raises(DataError, match=r"has images but no captions .*looked for json:text"):
        open_source(
            f"{in_memory(folder)}/*.tar",
            streaming=STREAM,
            caption_keys=["json:text"],
            cache_dir=tmp_path / "c",
        )


def test_what_a_stream_is_is_known_without_reading_it(folder, in_memory, serve, tmp_path):
    url = in_memory(folder)
    here = open_source(f"{url}/*.tar", streaming=STREAM, cache_dir=tmp_path / "c")
    moved = open_source(f"{serve(folder)}/{{00000..00006}}.tar", streaming=STREAM, cache_dir=tmp_path / "d")
    assert content_hash(here) == content_hash(moved)
    assert here.fingerprint != moved.fingerprint
    both = open_source([f"{url}/*.tar", f"{url}/*.tar=2"], streaming=STREAM, cache_dir=tmp_path / "c")
    assert len(both) == 174
    assert ledger(both, 1)
    assert content_hash(both) != content_hash(here)
    fsspec.filesystem("memory").rm("/shards/00003.tar")
    fewer = open_source(f"{url}/*.tar", streaming=STREAM, cache_dir=tmp_path / "c")
    assert content_hash(fewer) != content_hash(here)


def test_a_cache_that_is_too_small_is_told_with_numbers(folder, in_memory, tmp_path, progress):
    url = f"{in_memory(folder)}/*.tar"
    largest = sorted(os.path.getsize(path) for path in folder.iterdir())[-2:]

    def opened(size: int):
        streaming = Streaming(2, size)
        return open_source(url, streaming=streaming, cache_dir=tmp_path / "c", progress=progress)

    with pytest.raises(UsageError, match=r"2 shards that are mixed may have .* GiB") as error:
        opened(sum(largest) - 1)
    assert "data.stream_cache_gib=" in error.value.hint
    stream = opened(sum(largest))
    assert any("do not hold two windows" in warning for warning in progress.warnings)
    # It trains all the same.
    assert ledger(stream, 2) == ledger(open_source(folder), 0)


def test_a_stream_takes_a_few_bytes_a_shard():
    sizes = np.full(130_000, 9_846, np.int64)
    order = LocalOrder(sizes, 0, 8)
    visited = order.take(3 * order.samples + 10**9, 64)
    assert len(set((visited // 9_846).tolist())) <= 16
    window = order.window_at(3 * order.samples + 10**9)
    assert set((visited // 9_846).tolist()) <= {first // 9_846 for first in order.first_samples(window)}


def test_steps_know_their_window():
    sizes = [3, 0, 4, 5, 0, 2, 6]
    order = LocalOrder(sizes, 7, 2)
    shard_of = np.repeat(np.arange(7), sizes)
    firsts = np.cumsum(sizes) - sizes
    for position in range(60):
        (sample,) = order.take(position, 1)
        inside = order.first_samples(order.window_at(position))
        assert firsts[shard_of[sample]] in inside
        assert len(inside) <= 2


def test_a_stream_beside_local_shards_fetches_its_own(folder, in_memory, tmp_path):
    sources = [str(folder), f"{in_memory(folder)}/*.tar"]
    stream = Streaming(window=1, cache_bytes=10**8)
    expected = open_source([sources[0], sources[0]], cache_dir=tmp_path / "a")
    for weights in ("", "=0.3", "=2"):
        specs = [sources[0], sources[1] + weights]
        source = open_source(specs, streaming=stream, cache_dir=tmp_path / "b")
        order = LocalOrder(source.shard_sizes, 3, 1)
        load = Loader(source, order, TrainTransform(Augmentation(), 0), lambda *_: {}, 0)
        steps = ((Step(n, 16, 8, 8 * n), [range(8)]) for n in range(len(source) // 8))
        seen = np.concatenate([batches[0].samples.numpy() for batches in load(steps)])
        assert len(set(seen.tolist())) == len(seen)
    assert [source[i].captions for i in range(116)] == [expected[i].captions for i in range(116)]
