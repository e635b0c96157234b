"""`hf:` sources, with the Hub's two calls answered from local files: tests have no network."""

import datasets
import huggingface_hub
import pytest

from catlipctl.data import open_source
from catlipctl.data.caption_shards import caption_shards
from catlipctl.data.sources.hub import HubName, open_dataset, tar_urls
from catlipctl.errors import DataError, MachineError, UsageError


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("hf:org/name", ("org/name", None, None, None)),
        ("hf:org/name@v1.0", ("org/name", None, None, "v1.0")),
        ("hf:org/na.me/test:en-US@refs/pr/1", ("org/na.me", "test", "en-US", "refs/pr/1")),
    ],
)
def test_names(spec, name):
    assert HubName.parse(spec) == name


def test_no_name():
    with pytest.raises(UsageError, match="not the name of a dataset on the Hub"):
        HubName.parse("hf:name")


def test_a_dataset_is_read_undecoded(png):
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    rows = {
        "image": [{"bytes": b"no image", "path": None}, {"bytes": png(1), "path": None}, None],
        "caption": ["a", "b", "c"],
    }
    # Reversed by an index mapping, as after shuffle() or filter().
    dataset = datasets.Dataset.from_dict(rows, features=features).select([2, 1, 0])
    source = open_dataset("mine", dataset)
    assert [source[i][1:3] for i in range(2)] == [(png(1), ("b",)), (b"no image", ("a",))]
    assert list(source.captions()) == [("b",), ("a",)]
    assert source.faults == {"caption without image": 1}


def _files(monkeypatch, files):
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_args, **_keywords: files)


def test_tars_on_the_hub_go_through_our_reader(monkeypatch):
    _files(monkeypatch, ["README.md", "train/1.tar", "train/0.tar", "test/0.tar"])
    root = "hf://datasets/org/name"
    assert tar_urls(HubName.parse("hf:org/name")) == [f"{root}/train/0.tar", f"{root}/train/1.tar"]
    assert tar_urls(HubName.parse("hf:org/name/test@a/b")) == [f"{root}@a%2Fb/test/0.tar"]
    with pytest.raises(DataError, match="no tar of split 'val'"):
        tar_urls(HubName.parse("hf:org/name/val"))


def test_all_else_goes_through_datasets(monkeypatch, tmp_path, png):
    rows = {"image": [{"bytes": png(1), "path": None}], "text": ["b"]}
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(
        tmp_path / "org" / "name" / "train-0.parquet"
    )
    monkeypatch.chdir(tmp_path)  # load_dataset takes a local folder of that name for the repository
    _files(monkeypatch, ["train-0.parquet"])
    source = open_source("hf:org/name")
    assert source[0][1:3] == (png(1), ("b",))
    with pytest.raises(DataError, match="hf:org/name/test cannot be loaded"):
        open_source("hf:org/name/test")


def test_a_hub_that_does_not_answer(monkeypatch, capfd):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", None)  # nothing is tried again
    for open_ in (open_source, lambda spec: caption_shards([spec])):
        with pytest.raises(MachineError, match=r"hf:org/name cannot be fetched: .* does not answer") as error:
            open_("hf:org/name")
        assert error.value.exit_code == 5
    assert capfd.readouterr() == ("", "")
