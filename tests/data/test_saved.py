"""Folders that `datasets` wrote with save_to_disk, against what `datasets` reads of them."""

import datasets
import pytest

from catlipctl.data import open_source
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sources.faults import Faults
from catlipctl.errors import DataError

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
    }
)


@pytest.fixture
def rows(png):
    def made(first: int, count: int) -> datasets.Dataset:
        numbers = range(first, first + count)
        return datasets.Dataset.from_dict(
            {
                "image": [{"bytes": png(n), "path": None} for n in numbers],
                "text": [f"caption {n}" for n in numbers],
                "label": [n % 2 for n in numbers],
            },
            features=FEATURES,
        )

    return made


def theirs(folder) -> list[tuple[bytes, str, str]]:
    read = datasets.load_from_disk(str(folder)).cast_column("image", datasets.Image(decode=False))
    names = FEATURES["label"].names
    return [(row["image"]["bytes"], row["text"], names[row["label"]]) for row in read]


def captions_alone(folder) -> list[tuple[str, ...]]:
    shards = sorted(caption_shards([folder]), key=lambda shard: shard.name)
    return [texts for shard in shards for texts in shard.read(Faults())]


def test_a_dataset_in_several_files(tmp_path, rows):
    # Shuffled: the order is that of the index mapping, which save_to_disk writes out.
    rows(0, 7).shuffle(seed=1).save_to_disk(tmp_path / "ds", num_shards=3)
    source = open_source(tmp_path / "ds")
    expected = theirs(tmp_path / "ds")
    assert [(s.image, s.captions[0], s.labels[0]) for s in (source[i] for i in range(7))] == expected
    assert (source.shards, source.shard_sizes, source.faults) == (3, [3, 2, 2], {})
    assert list(source.captions()) == captions_alone(tmp_path / "ds") == [(text,) for _, text, _ in expected]
    assert source.labels() == [(label,) for *_, label in expected]


def test_a_split_is_chosen_as_on_the_hub(tmp_path, rows, progress):
    both = datasets.DatasetDict(train=rows(0, 2), test=rows(5, 3))
    both.save_to_disk(tmp_path / "ds")
    assert list(open_source(tmp_path / "ds").captions()) == [("caption 0",), ("caption 1",)]
    assert len(open_source(tmp_path / "ds" / "test")) == 3
    assert captions_alone(tmp_path / "ds") == [("caption 0",), ("caption 1",)]
    datasets.DatasetDict(val=rows(0, 2), test=rows(5, 3)).save_to_disk(tmp_path / "other")
    with pytest.raises(DataError, match="splits val, test") as error:
        open_source(tmp_path / "other", progress=progress)
    assert f"{tmp_path}/other/test" in error.value.hint


def test_bad_rows_and_files_are_counted(tmp_path, png):
    data = {
        "image": [{"bytes": png(0), "path": None}, None, {"bytes": png(2), "path": None}],
        "text": ["one", "two", None],
    }
    features = datasets.Features({name: FEATURES[name] for name in data})
    datasets.Dataset.from_dict(data, features=features).save_to_disk(tmp_path / "ds", num_shards=3)
    assert open_source(tmp_path / "ds").faults == {"image without caption": 1, "caption without image": 1}
    file = tmp_path / "ds" / "data-00002-of-00003.arrow"
    file.write_bytes(file.read_bytes()[:-60])
    source = open_source(tmp_path / "ds")
    assert (len(source), source.faults) == (1, {"unreadable shard": 1, "caption without image": 1})
    found = Faults()
    read = [texts for shard in caption_shards([tmp_path / "ds"]) for texts in shard.read(found)]
    assert read == [("one",), ("two",)]
    assert found.damaged
    with pytest.raises(DataError, match="1 unreadable shard, first"):
        open_source(tmp_path / "ds", strict=True)
    (tmp_path / "ds" / "state.json").write_text("[")
    with pytest.raises(DataError, match=r"state\.json does not list"):
        open_source(tmp_path / "ds")


def test_images_may_be_named_by_paths(tmp_path, png):
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "a.png").write_bytes(png(4))
    named = datasets.Dataset.from_dict({"image_path": ["a.png"], "caption": ["a"]})
    named.save_to_disk(tmp_path / "ds")
    assert open_source(tmp_path / "ds")[0].image == png(4)
