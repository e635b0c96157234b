"""How names fall into words: 40 hard ones read by hand, and the paper's way by NLTK."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from catlipctl.labels import targets, wordnet
from catlipctl.labels.targets import Label, LabelSet

GRAPH = wordnet.nouns()


def names_of(label: Label) -> list[str]:
    return [GRAPH.name(key) for key in label.synsets]


def test_the_papers_footnotes() -> None:
    """CatLIP 4.2: archaeological_excavation is random, restaurant_kitchen an average."""
    names = ("archaeological_excavation", "restaurant_kitchen")
    target = LabelSet("mine", tuple(Label(name, (), senses="guessed") for name in names))
    excavation, kitchen = targets.read_by("paper", target).labels
    assert excavation.synsets == ()
    assert names_of(kitchen) == ["restaurant.n.01", "kitchen.n.01"]
    assert [[GRAPH.name(key) for key in keys] for keys in targets.guesses(names)] == [
        ["excavation.n.03"],
        ["restaurant.n.01", "kitchen.n.01"],
    ]


@pytest.mark.usefixtures("nltk_data")
def test_the_papers_way_with_places_by_nltk() -> None:
    from nltk.corpus import wordnet as wn

    def expected(name: str) -> list[str]:
        senses = [wn.synsets(word, "n") for word in re.split("[_/]", name)]
        return list(dict.fromkeys(found[0].name() for found in senses)) if all(senses) else []

    read = targets.read_by("paper", targets.load("places365"))
    assert {label.name: names_of(label) for label in read.labels} == {
        label.name: expected(label.name) for label in read.labels
    }
    assert sum(not label.synsets for label in read.labels) == 64
    assert targets.read_by("paper", read) == read


def test_what_is_given_is_nobodys_to_read(tmp_path: Path) -> None:
    imagenet = targets.load("imagenet")
    assert targets.read_by("paper", imagenet) == imagenet
    (tmp_path / "mine.tsv").write_text("hot dog\thotdog.n.02\nhot spring\nkitchen\n", encoding="utf-8")
    mine = targets.load(tmp_path / "mine.tsv")
    assert [label.senses for label in mine.labels] == ["given", "guessed", "guessed"]
    read = targets.read_by("paper", mine)
    assert [names_of(label) for label in read.labels] == [["hotdog.n.02"], [], ["kitchen.n.01"]]
    assert replace(read, labels=read.labels[:1]) == replace(mine, labels=mine.labels[:1])
