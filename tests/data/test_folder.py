"""Folders: class folders, metadata.csv, and which of several things in one folder is meant."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catlipctl.data import open_source
from catlipctl.errors import DataError


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
    assert source.labels() == [theirs.classes[target] for target in theirs.targets]
    assert [source[i].image for i in range(3)] == [png(i) for i in range(3)]
    assert (source.shards, source.shard_sizes) == (0, [3])


def test_class_folders_have_no_captions(classes):
    source = open_source(classes, need="any")
    assert list(source.captions()) == [(), (), ()]
    assert source[0].captions == ()
    with pytest.raises(DataError, match="labels but no captions"):
        open_source(classes)


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
    assert source[0].label == "cat"
    path.mkdir()
    assert source[0].image is None
