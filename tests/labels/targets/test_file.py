"""Label-set files: every way to write a row, and every fault named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.errors import DataError
from catlipctl.labels import targets, wordnet


def write(folder: Path, text: str, name: str = "mine.tsv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_way_to_write_a_row(tmp_path: Path) -> None:
    text = (
        "\ufeff# my classes\r\n"
        "hound\tn02084071\r\n"
        "motorcar\tautomobile.n.01\n"
        "canteen\trestaurant.n.01, kitchen.n.01\n"
        "mumbo jumbo\t\n"
        "n02121620\n"
        "fire stations\n"
        "restaurant_kitchen/indoor\n"
        "\n"
        "xyzzy\n"
    )
    graph = wordnet.nouns()
    found = targets.load(write(tmp_path, text))
    assert found.name == "mine"
    assert [(label.name, [graph.name(key) for key in label.synsets]) for label in found.labels] == [
        ("hound", ["dog.n.01"]),
        ("motorcar", ["car.n.01"]),
        ("canteen", ["restaurant.n.01", "kitchen.n.01"]),
        ("mumbo jumbo", []),
        ("cat", ["cat.n.01"]),
        ("fire stations", ["fire_station.n.01"]),
        ("restaurant_kitchen/indoor", ["restaurant.n.01", "kitchen.n.01"]),
        ("xyzzy", []),
    ]


def test_an_edited_account_is_a_label_set(tmp_path: Path) -> None:
    text = (
        "label,synsets,how,similarity\n"
        "dog,n02084071,exact,1\n"
        '"a, b",,random,\n'
        "cafe,cafe.n.01 bar.n.02,averaged,1\n"
    )
    labels = targets.load(write(tmp_path, text, "account.csv")).labels
    assert [(label.name, len(label.synsets)) for label in labels] == [("dog", 1), ("a, b", 0), ("cafe", 2)]


def test_an_account_that_a_spreadsheet_saved(tmp_path: Path) -> None:
    text = "\ufefflabel;synsets;multi_label\r\ndog;dog.n.01;yes\r\ncafe;cafe.n.01 bar.n.02;yes\r\n"
    found = targets.load(write(tmp_path, text, "account.csv"))
    assert [(label.name, len(label.synsets)) for label in found.labels] == [("dog", 1), ("cafe", 2)]
    assert found.multi_label
    with pytest.raises(DataError, match=r"account.csv: line 3: no WordNet 3.0 noun synset bar.n.77"):
        targets.load(write(tmp_path, text.replace("bar.n.02", "bar.n.77"), "account.csv"))


def test_what_tells_a_name_apart_is_not_what_it_means(tmp_path: Path) -> None:
    graph = wordnet.nouns()
    text = "crane (wading bird)\nbazaar/indoor\nbar_stool (kitchen)\n"
    found = targets.load(write(tmp_path, text))
    assert [[graph.name(key) for key in label.synsets] for label in found.labels] == [
        ["crane.n.05"],
        ["bazaar.n.01"],
        ["bar.n.02", "stool.n.01"],
    ]
    said: list[str] = []
    targets.extracted(found, lambda name: said.append(name) or [])  # type: ignore[func-returns-value]
    assert said == ["crane", "bazaar", "bar stool"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog\tn99999999\n", "line 1: no WordNet 3.0 noun synset n99999999"),
        ("dog\tn02084071\ndog\tcat.n.01\n", "line 2: label dog stands on line 1 too"),
        ("\tn02084071\n", "line 1: no label"),
        ("dog\tdog.v.01\n", "dog.v.01"),
        ("# nothing\n", "has no rows"),
    ],
)
def test_faults_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        targets.load(write(tmp_path, text))


def test_what_is_no_label_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither built in nor a file"):
        targets.load("imagenet1k")
    with pytest.raises(DataError, match="has no column synsets"):
        targets.load(write(tmp_path, "label,key\ndog,n02084071\n", "account.csv"))
    with pytest.raises(DataError, match="is JSON"):
        targets.load(write(tmp_path, '{"format": "catlipctl vocabulary",\n "rows": [["n02084071", 9]]}'))
    with pytest.raises(DataError, match=r"none of its 2 rows .* \(line 1: xyzzy\)"):
        targets.load(write(tmp_path, "xyzzy\nplugh\t\n"))
    binary = tmp_path / "binary.tsv"
    binary.write_bytes(b"\x89PNG\r\n\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        targets.load(binary)


@given(st.lists(st.tuples(st.text(alphabet="abc xyz_/-é中#", min_size=1), st.booleans()), max_size=8))
def test_any_text_is_read_or_refused(rows: list[tuple[str, bool]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = write(
            Path(folder), "\n".join(label + ("\tdog.n.01" if mapped else "") for label, mapped in rows)
        )
        try:
            found = targets.load(path)
        except DataError:
            return
    names = [label.name for label in found.labels]
    assert len(set(names)) == len(names) > 0
    assert all(found.labels[found.find(name) or 0].name == name for name in names)


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        targets.load("imagnet")
    assert caught.value.hint.startswith("did you mean imagenet? built in: ")
