"""Folders: classes, metadata, text files beside images, and which of several things is meant."""

import json
import os
import pickle
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catlipctl.data import open_source
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sources.faults import Faults
from catlipctl.errors import DataError, UsageError


@pytest.fixture
def classes(tmp_path, png):
    for name, numbers in (("cat", [0, 1]), ("dog", [2]), (".git", [3])):
        (tmp_path / name / "deep").mkdir(parents=True)
        for number in numbers:
            (tmp_path / name / "deep" / f"{number}.PNG").write_bytes(png(number))
    (tmp_path / "dog" / "notes.md").write_text("no image")
    return tmp_path


def test_class_folders_equal_torchvision(classes, png):
    from torchvision.datasets import ImageFolder

    (classes / ".git" / "deep" / "3.PNG").unlink()
    (classes / ".git" / "deep").rmdir()
    (classes / ".git").rmdir()
    theirs = ImageFolder(str(classes))
    source = open_source(classes, need="labels")
    assert source.labels() == [(theirs.classes[target],) for target in theirs.targets]
    assert [source[i].image for i in range(3)] == [png(i) for i in range(3)]
    assert (source.shards, source.shard_sizes) == (0, [3])


def test_a_class_whose_name_is_no_utf8(tmp_path, png):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "0.png").write_bytes(png(0))
    source = open_source(tmp_path, need="labels")
    assert source[0] == ("caf\ufffd/0.png", png(0), (), ("caf\ufffd",))


def test_class_folders_have_no_captions(classes):
    source = open_source(classes, need="any")
    assert list(source.captions()) == [(), (), ()]
    assert source[0].captions == ()
    with pytest.raises(DataError, match="labels but no captions"):
        open_source(classes)


def test_a_label_key_is_refused_where_the_folder_names_the_label(classes):
    with pytest.raises(UsageError, match=r"--label-key cls: .* its sub-folders' names are the labels"):
        open_source(classes, label_key="cls", need="labels")


def test_the_fingerprint_changes_with_a_file(classes, png):
    before = open_source(classes, need="labels").fingerprint
    assert open_source(classes, need="labels").fingerprint == before
    (classes / "dog" / "9.png").write_bytes(png(9))
    assert open_source(classes, need="labels").fingerprint != before


def test_real_class_folders(shared_data):
    source = open_source(shared_data / "transfer/cifar10/test", need="labels")
    assert len(source) == 2000
    assert len(set(source.labels())) == 10
    with pytest.raises(DataError, match="splits test, train") as error:
        open_source(shared_data / "transfer/cifar10", need="labels")
    assert error.value.hint.endswith("cifar10/train")


def test_metadata_csv(tmp_path, png):
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(png(1))
    (tmp_path / "metadata.csv").write_text('file_name,text\nimg/a.png,"a cat, asleep"\n')
    assert open_source(tmp_path)[0] == ("img/a.png", png(1), ("a cat, asleep",), None)


def test_tars_win_over_parquet(tmp_path, png, write_tar):
    write_tar(tmp_path / "00000.tar", [("0.png", png(0)), ("0.txt", b"from the tar")])
    pq.write_table(pa.table({"url": ["x"], "caption": ["from the table"]}), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text("{}")
    assert list(open_source(tmp_path).captions()) == [("from the tar",)]


def test_splits_side_by_side_are_not_mixed(tmp_path, png, write_tar):
    for split in ("train", "val"):
        write_tar(tmp_path / f"{split}-000.tar", [("0.png", png(0)), ("0.txt", split.encode())])
    with pytest.raises(DataError, match="splits train, val") as error:
        open_source(tmp_path)
    assert f"'{tmp_path}/train*.tar'" in error.value.hint
    assert list(open_source(f"{tmp_path}/train*.tar").captions()) == [("train",)]


def test_a_folder_of_images_alone(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(1))
    assert open_source(tmp_path, need="images")[0] == ("a.png", png(1), (), None)
    with pytest.raises(DataError, match="no tars, no Parquet"):
        open_source(tmp_path)


def test_a_folder_of_compressed_tars_says_so(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="compressed"):
        open_source(tmp_path)


def test_an_image_that_vanished_is_unreadable(classes):
    source = open_source(classes, need="labels")
    path = classes / "cat" / "deep" / "0.PNG"
    path.unlink()
    assert source[0].image is None
    assert source[0].labels == ("cat",)
    path.mkdir()
    assert source[0].image is None


def write_jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def imagefolder(tmp_path, folder, split):
    """What `datasets` reads there: the bytes and the text of each image."""
    read = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split=split, cache_dir=str(tmp_path / "hf")
    )
    return {
        (Path(row["image"]["path"]).read_bytes(), row["text"])
        for row in read.cast_column("image", datasets.Image(decode=False))
    }


def test_metadata_jsonl_equals_datasets(tmp_path, png):
    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        folder = tmp_path / "data" / split
        folder.mkdir(parents=True)
        for number in numbers:
            (folder / f"{number}.png").write_bytes(png(number))
        rows = [{"file_name": f"{n}.png", "text": f"number {n}", "extra": [n]} for n in numbers]
        write_jsonl(folder / "metadata.jsonl", *rows)
        source = open_source(folder)
        ours = {(source[i].image, *source[i].captions) for i in range(len(source))}
        assert ours == imagefolder(tmp_path, tmp_path / "data", split)
        (shard,) = caption_shards([folder])
        assert list(shard.read(Faults())) == list(source.captions())
    with pytest.raises(DataError, match="splits test, train"):
        open_source(tmp_path / "data")


def test_metadata_beside_the_folders_of_splits(tmp_path, png):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.png").write_bytes(png(len(split)))
    rows = [{"file_name": f"{split}/0.png", "text": split} for split in ("train", "test")]
    write_jsonl(tmp_path / "metadata.jsonl", *rows)
    with pytest.raises(DataError, match="splits test, train"):
        open_source(tmp_path)
    for split in ("train", "test"):
        source = open_source(tmp_path / split)
        assert [source[i] for i in range(len(source))] == [
            (f"{split}/0.png", png(len(split)), (split,), None)
        ]
        (shard,) = caption_shards([tmp_path / split])
        assert list(shard.read(Faults())) == [(split,)]


def test_metadata_beside_a_folder_that_it_does_not_name(tmp_path, png):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "0.png").write_bytes(png(0))
    write_jsonl(tmp_path / "metadata.jsonl", {"file_name": "elsewhere.png", "text": "a"})
    assert open_source(tmp_path / "train", need="labels").labels() == [("cat",)]


def test_metadata_in_sub_folders_is_pointed_to(tmp_path, png, progress):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(png(0))
    write_jsonl(tmp_path / "cat" / "metadata.jsonl", {"file_name": "0.png", "text": "a"})
    assert open_source(tmp_path, need="labels", progress=progress).labels() == [("cat",)]
    (note,) = progress.notes
    assert note.endswith(f"cat/metadata.jsonl is not read here: name {tmp_path}/cat to read it")


def test_which_of_several_kinds_is_said(tmp_path, png, write_tar, progress):
    (tmp_path / "a.png").write_bytes(png(1))
    write_jsonl(tmp_path / "metadata.jsonl", {"file_name": "a.png", "text": "by jsonl"})
    assert list(open_source(tmp_path, progress=progress).captions()) == [("by jsonl",)]
    assert progress.notes == []
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,by csv\n")
    assert list(open_source(tmp_path, progress=progress).captions()) == [("by csv",)]
    assert "holds metadata.csv and metadata.jsonl: reading metadata.csv" in progress.notes[-1]
    write_tar(tmp_path / "0.tar", [("0.png", png(0)), ("0.txt", b"by tar")])
    assert list(open_source(tmp_path, progress=progress).captions()) == [("by tar",)]
    assert "holds tars and metadata.csv and metadata.jsonl: reading tars" in progress.notes[-1]


@pytest.fixture
def kohya(tmp_path, png):
    """Images with a text file beside each, in folders, as kohya's trainers and img2dataset have them."""
    root = tmp_path / "set"
    for path, text in (
        ("10_cats/a.png", b"a cat, asleep\n"),
        ("10_cats/deep/b.WEBP", b"caf\xe9"),
        ("c.jpeg", b""),
        ("d.png", None),
        ("e.txt", b"no image"),
        (".hidden/f.png", b"hidden"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith(".txt"):
            (root / path).write_bytes(png(len(path)))
        if text is not None:
            (root / path).with_suffix(".txt").write_bytes(text)
    return root


def test_images_with_text_files_beside_them(kohya, png):
    source = open_source(kohya)
    assert [source[i] for i in range(len(source))] == [
        ("10_cats/a.png", png(13), ("a cat, asleep",), ("10_cats",)),
        ("10_cats/deep/b.WEBP", png(19), ("caf\ufffd",), ("10_cats",)),
    ]
    assert source.faults == {"image without caption": 2, "caption without image": 1, "caption not UTF-8": 1}
    assert len(open_source(kohya, need="any")) == 2
    assert len(open_source(kohya, need="images")) == 4
    before = source.fingerprint
    (kohya / "10_cats" / "a.txt").write_text("a dog")
    assert open_source(kohya).fingerprint != before


def test_the_captions_of_such_a_folder_alone(kohya):
    (shard,) = [pickle.loads(pickle.dumps(shard)) for shard in caption_shards([kohya])]
    found = Faults()
    assert list(shard.read(found)) == [("",), ("a cat, asleep",), ("caf\ufffd",)]
    assert found.counts() == {"image without caption": 1, "caption without image": 1, "caption not UTF-8": 1}
    (kohya / "10_cats" / "a.txt").write_text("a dog")
    assert caption_shards([kohya])[0].identity != shard.identity


def test_other_text_files_are_chosen_by_extension(kohya, png):
    with pytest.raises(DataError, match=r"no captions \(no NAME\.caption lies"):
        open_source(kohya, caption_keys=["caption"])
    (kohya / "d.caption").write_text("from a caption file")
    (kohya / "d.json").write_text('{"said": "from json"}')
    assert open_source(kohya, caption_keys=["caption", "json:said"])[0] == (
        *("d.png", png(5)),
        ("from a caption file", "from json"),
        None,
    )
