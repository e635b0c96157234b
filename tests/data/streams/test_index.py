"""How many samples a shard has: as img2dataset, webdataset or we have counted; what was counted is kept."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catlipctl.data import open_source
from catlipctl.data.sources import Streaming
from catlipctl.data.sources.streams import index_source, opening
from catlipctl.errors import DataError

from .conftest import SAMPLES

STREAM = Streaming(window=2, cache_bytes=10**8)


def sizes(folder: Path, cache: Path) -> list[int]:
    source = open_source(folder, streaming=Streaming(2, 10**8, local=True), cache_dir=cache)
    return list(source.shard_sizes)


def test_counts_are_those_of_whoever_wrote_the_shards_or_ours(folder, tmp_path):
    assert sizes(folder, tmp_path / "a") == list(SAMPLES), "nobody tells: counted when it is opened"
    for shard in range(7):
        stats = {"count": 12, "successes": 3 + shard, "failed_to_download": 1}
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats))
    assert sizes(folder, tmp_path / "b") == list(range(3, 10)), "img2dataset's"
    for path in folder.glob("*_stats.json"):
        path.unlink()
    assert sizes(folder, tmp_path / "b") == list(range(3, 10)), "kept, so not asked for again"
    (folder / "sizes.json").write_text(json.dumps({f"{shard:05d}.tar": 5 for shard in range(7)}))
    assert sizes(folder, tmp_path / "b") == [5] * 7, "webdataset's"
    assert sizes(folder, tmp_path / "a") == list(SAMPLES), "ours come first"
    # A shard that was written anew is counted anew.
    os.utime(folder / "00000.tar", (10**9, 10**9))
    assert sizes(folder, tmp_path / "a") == [5, *SAMPLES[1:]]
    (folder / "sizes.json").write_text('{"00000.tar": "many"}')
    with pytest.raises(DataError, match=r"sizes\.json does not say how many samples"):
        sizes(folder, tmp_path / "a")


def test_a_server_that_forbids_what_it_has_not_tells_no_counts(folder, serve, tmp_path):
    url = serve(folder, withheld=True)
    opened = open_source(f"{url}/{{00000..00006}}.tar", streaming=STREAM, cache_dir=tmp_path / "c")
    assert list(opened.shard_sizes) == list(SAMPLES)


def test_many_shards_that_nobody_has_counted_are_not_counted_by_surprise(
    folder, in_memory, tmp_path, monkeypatch
):
    monkeypatch.setattr(opening, "MOST_UNASKED", 6)
    url = f"{in_memory(folder)}/*.tar"
    with pytest.raises(DataError, match="how many samples 7 of its 7 shards hold") as error:
        open_source(url, streaming=STREAM, cache_dir=tmp_path / "c")
    command = f"count them once: catlipctl data index --data '{url}'"
    assert error.value.hint == f"{command} --cache-dir {tmp_path / 'c'}"
    with pytest.raises(DataError) as error:
        open_source(url, streaming=STREAM, image_key="png", caption_keys=["txt", "json:alt"])
    assert error.value.hint == f"{command} --image-key png --caption-key txt --caption-key json:alt"
    found = index_source([url], cache_dir=tmp_path / "c")
    (one,) = found.sources
    assert (one.shards, one.samples, one.counted, one.smallest, one.largest) == (7, 58, 7, 5, 12)
    assert one.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert len(open_source(url, streaming=STREAM, cache_dir=tmp_path / "c")) == 58
    # Other keys choose other samples.
    with pytest.raises(DataError, match="no captions"):
        index_source([url], caption_keys=["json:text"], cache_dir=tmp_path / "c")


def test_a_count_that_is_killed_goes_on(folder, tmp_path):
    for shard in range(7, 150):
        os.link(folder / f"{shard % 7:05d}.tar", folder / f"{shard:05d}.tar")
    command = ["data", "index", "--data", str(folder), "--cache-dir", str(tmp_path / "c"), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "catlipctl", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (kept := list((tmp_path / "c").rglob("*.jsonl"))):
        time.sleep(0.002)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = len([line for line in kept[0].read_text().splitlines() if line])
    assert before < 150, "it was killed in its midst"
    with kept[0].open("a") as stream:
        stream.write('["00149.tar", 10')  # a line that the kill has torn
    (one,) = index_source([str(folder)], workers=2, cache_dir=tmp_path / "c").sources
    assert (one.kept, one.counted) == (before, 150 - before)
    assert one.samples == sum(SAMPLES[shard % 7] for shard in range(150))
