"""Parquet against pyarrow and datasets."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catlipctl.data import open_source
from catlipctl.errors import DataError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_image_structs_binaries_and_paths(tmp_path, png):
    (tmp_path / "2.png").write_bytes(png(2))
    captions = ["a", "b", "c"]
    rows = [
        {"bytes": png(0), "path": None},
        {"bytes": png(1), "path": "gone"},
        {"bytes": None, "path": "2.png"},
    ]
    tables = {
        "struct": pa.table({"n": [1, 2, 3], "img": pa.array(rows, STRUCT), "text": captions}),
        "binary": pa.table({"jpg": [png(0), png(1), png(2)], "caption": captions}),
        "path": pa.table({"caption": captions, "image_path": ["2.png"] * 3}),
    }
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        source = open_source(tmp_path / f"{name}.parquet")
        expected = [png(2)] * 3 if name == "path" else [png(i) for i in range(3)]
        assert [source[i].image for i in range(3)] == expected
        assert list(source.captions()) == [("a",), ("b",), ("c",)] == [source[i].captions for i in range(3)]
    assert pickle.loads(pickle.dumps(source))[1] == source[1]


def test_several_files_several_captions_and_faults(tmp_path, png, progress):
    def write(name, captions, images):
        table = pa.table(
            {"image": pa.array(images, pa.binary()), "captions": pa.array(captions, pa.list_(pa.string()))}
        )
        pq.write_table(table, tmp_path / name, row_group_size=1)

    write("0.parquet", [["a", "b"], [], None], [png(0), png(1), png(2)])
    write("1.parquet", [["c"], ["lost"]], [png(3), None])
    (tmp_path / "2.parquet").write_bytes((tmp_path / "0.parquet").read_bytes()[:-20])
    source = open_source(tmp_path, progress=progress)
    assert dict(source.faults) == {
        "image without caption": 2,
        "caption without image": 1,
        "unreadable shard": 1,
    }
    assert list(source.captions()) == [("a", "b"), ("c",)]
    assert [source[i].image for i in range(2)] == [png(0), png(3)]
    assert (source.shards, source.shard_sizes) == (2, [1, 1])
    with pytest.raises(DataError, match="unreadable shard"):
        open_source(tmp_path, strict=True)


def test_the_sizes_of_shards_are_of_rows_that_are_used(tmp_path, png):
    for name, texts in (("0", ["a", None, "b"]), ("1", [None]), ("2", ["c"] * 5)):
        table = pa.table({"image": [png(0)] * len(texts), "caption": pa.array(texts, pa.string())})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2)
    source = open_source(tmp_path)
    assert (source.shard_sizes, len(source)) == ([2, 5], 7)


def test_captions_that_are_no_utf8(tmp_path, png):
    wrong = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"image": [png(0)] * 2, "caption": wrong}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.faults == {"caption not UTF-8": 1}
    assert list(source.captions()) == [("fine",), ("caf\ufffd",)] == [source[i].captions for i in range(2)]


def test_class_labels_of_datasets_have_their_names(tmp_path, png):
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {"image": [{"bytes": png(i), "path": None} for i in range(3)], "label": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", need="labels")
    assert source.labels() == [("dog",), ("cat",), ("dog",)] == [source[i].labels for i in range(3)]
    assert source[2].image == png(2)
    with pytest.raises(DataError, match=r"like captions: it has image \(struct.*label \(int64\)"):
        open_source(tmp_path / "a.parquet")


def test_lists_of_labels_are_several(tmp_path, png):
    import datasets

    names = datasets.List(datasets.ClassLabel(names=["cat", "dog"]))
    features = datasets.Features({"image": datasets.Image(), "label": names})
    images = [{"bytes": png(i), "path": None} for i in range(4)]
    rows = {"image": images, "label": [[1, 0, 1], [], None, [0]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet", need="labels")
    assert source.labels() == [source[i].labels for i in range(3)] == [("dog", "cat"), (), ("cat",)]
    assert source.faults == {"image without label": 1}
    table = pa.table({"image": [png(0)], "present": [[7, 150]]})
    pq.write_table(table, tmp_path / "b.parquet")
    assert open_source(tmp_path / "b.parquet", need="labels", label_key="present").labels() == [("7", "150")]


def test_wrong_columns(tmp_path, png):
    pq.write_table(pa.table({"image": [png(0)], "caption": ["a"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column 'text': it has image") as error:
        open_source(tmp_path / "a.parquet", caption_keys=["text"])
    assert "--caption-key" in error.value.hint
    with pytest.raises(DataError, match="'n' is int64"):
        open_source(tmp_path / "a.parquet", caption_keys=["n"])
    pq.write_table(pa.table({"image": [png(0)], "title": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet has no column 'caption'"):
        open_source(str(tmp_path / "*.parquet"))


def test_nothing_usable(tmp_path, png):
    pq.write_table(pa.table({"image": [png(0)], "caption": [" "]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="1 image without caption"):
        open_source(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        open_source(tmp_path / "b.parquet")


def test_the_hubs_data_folder_with_splits(tmp_path, png):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        table = pa.table({"image": [png(0)], "caption": [split]})
        pq.write_table(table, tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    with pytest.raises(DataError, match="splits test, train"):
        open_source(tmp_path)
    assert list(open_source(f"{tmp_path}/data/test*.parquet").captions()) == [("test",)]
