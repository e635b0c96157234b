"""http(s) sources, from a server on the loopback."""

import os
import subprocess
import sys

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catlipctl.data import open_source
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import retrying
from catlipctl.data.workers import ahead
from catlipctl.errors import DataError, MachineError


@pytest.fixture
def tar(tmp_path, png, write_tar):
    return write_tar(
        tmp_path / "a-0.tar",
        [(f"{n}.{e}", b) for n in range(4) for e, b in (("png", png(n)), ("txt", b"caption %d" % n))],
    )


def test_a_tar_behind_http_is_the_tar(tar, serve, png):
    url = serve()
    ours, theirs = open_source(f"{url}/a-0.tar"), open_source(tar)
    assert [ours[i] for i in range(4)] == [theirs[i] for i in range(4)]
    assert list(ours.captions()) == list(theirs.captions())
    # In a worker process too, which must not share this one's connections.
    assert [sample.image for sample in ahead(ours.__getitem__, range(4), workers=1)] == [
        png(i) for i in range(4)
    ]
    assert len(open_source(f"{url}/a-{{0..0}}.tar")) == len(open_source(f"{url}/*.tar")) == 4
    assert open_source(f"{url}/a-0.tar").fingerprint == ours.fingerprint
    os.utime(tar, (10**9, 10**9))  # which it tells as Last-Modified
    assert open_source(f"{url}/a-0.tar").fingerprint != ours.fingerprint


def test_tables_and_texts_behind_http(tmp_path, png, serve):
    url = serve()
    pq.write_table(pa.table({"image": [png(1)], "caption": ["columns"]}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"text": "json"}\n')
    (tmp_path / "a.txt").write_text("line\n")
    shards = caption_shards([f"{url}/a.{kind}" for kind in ("parquet", "jsonl", "txt")])
    assert sorted(texts for shard in shards for texts in shard.read(Faults())) == [
        ("columns",),
        ("json",),
        ("line",),
    ]
    assert open_source(f"{url}/a.parquet", cache_dir=tmp_path / "cache")[0][1:3] == (png(1), ("columns",))


@pytest.mark.usefixtures("tar")
def test_servers_that_cannot_do_it(serve, monkeypatch):
    monkeypatch.setattr(retrying, "PAUSES", (0.0,))
    url = serve()
    with pytest.raises(DataError, match=r"nosuch\.tar cannot be opened: .*404") as missing:
        open_source(f"{url}/nosuch.tar")
    assert missing.value.exit_code == 3
    with pytest.raises(MachineError, match=r"broken\.tar cannot be read: .*502"):
        open_source(f"{url}/broken.tar")
    # Python's own server knows no ranges: half a gigabyte for each caption, or wrong bytes.
    with pytest.raises(MachineError, match="sends whole files") as error:
        open_source(f"{serve(ranges=False)}/a-0.tar")[0]
    assert "range requests" in error.value.hint


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr("time.sleep", None)  # nothing is tried again
    for url in (
        "https://nosuch.invalid/a.tar",
        "http://127.0.0.1:1/a-{0..9}.tar",
        "http://127.0.0.1:1/*.tar",
    ):
        with pytest.raises(MachineError, match="its server does not answer") as error:
            open_source(url)
        assert error.value.exit_code == 3


@pytest.mark.parametrize("open_", [open_source, lambda spec: caption_shards([spec])])
def test_a_dataset_that_the_hub_has_not(serve, monkeypatch, open_):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", serve())
    with pytest.raises(DataError, match="the Hub has no dataset nosuch/thing, or it is private") as error:
        open_("hf:nosuch/thing")
    assert "hf auth login" in error.value.hint


@pytest.mark.parametrize(
    ("url", "package"),
    [("http://127.0.0.1:1/a.tar", "aiohttp"), ("s3://b/a.tar", "s3fs"), ("gs://b/a.tar", "gcsfs")],
)
def test_a_package_that_is_missing_is_named_with_its_extra(url, package):
    code = f"""
import sys
sys.modules[{package!r}] = None  # as if it were not installed
from catlipctl.data import open_source
from catlipctl.errors import MachineError
try:
    open_source({url!r})
except MachineError as error:
    print(error.message, error.hint, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    message, hint = done.stdout.splitlines()
    assert package in message
    assert hint == "pip install 'catlipctl[remote]'"
