"""The content hash of a source: what its samples hold decides, where and when they were written does not."""

import os
import shutil

from catlipctl.data import open_source
from catlipctl.data.content import content_hash


def test_data_that_moved_is_the_same_data(tmp_path, png, write_tar):
    (tmp_path / "here").mkdir()
    for shard in range(2):
        entries = [
            (f"{n}.{e}", b) for n in range(90) for e, b in (("png", png(n)), ("txt", b"%d" % (n + shard)))
        ]
        write_tar(tmp_path / "here" / f"{shard}.tar", entries)
    here = open_source(tmp_path / "here")
    before = content_hash(here)
    shutil.copytree(tmp_path / "here", tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").iterdir():
        os.utime(path, (1, 1))
    there = open_source(tmp_path / "elsewhere")
    assert there.fingerprint != here.fingerprint
    assert content_hash(there) == before
    (tmp_path / "elsewhere" / "0.tar").rename(tmp_path / "elsewhere" / "2.tar")
    assert content_hash(open_source(tmp_path / "elsewhere")) != before, "another order"


def test_other_data_is_not_the_same(tmp_path, png, write_tar):
    def hash_of(*samples):
        entries = [
            (f"{n}.{e}", b)
            for n, sample in enumerate(samples)
            for e, b in zip(("png", "txt"), sample, strict=True)
        ]
        return content_hash(open_source(write_tar(tmp_path / "a.tar", entries)))

    first = hash_of((png(0), b"a"), (png(1), b"b"))
    assert hash_of((png(0), b"a"), (png(1), b"b")) == first
    others = [
        hash_of((png(0), b"a"), (png(1), b"c")),
        hash_of((png(0), b"a"), (png(2), b"b")),
        hash_of((png(0), b"a")),
    ]
    assert len({first, *others}) == 4


def test_class_folders_and_listings_may_move_too(tmp_path, png):
    (tmp_path / "one" / "cat").mkdir(parents=True)
    (tmp_path / "one" / "cat" / "0.png").write_bytes(png(0))
    before = content_hash(open_source(tmp_path / "one", need="labels"))
    (tmp_path / "one").rename(tmp_path / "two")
    assert content_hash(open_source(tmp_path / "two", need="labels")) == before
    (tmp_path / "a.csv").write_text("filepath,title\ntwo/cat/0.png,a cat\n")
    listed = content_hash(open_source(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_text(f"path,caption\n{tmp_path}/two/cat/0.png,a cat\n")
    assert content_hash(open_source(tmp_path / "b.csv")) == listed != before
