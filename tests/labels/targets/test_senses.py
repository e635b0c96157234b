"""What names alone are taken to mean: against the synsets of the built-in sets, which are known, and NLTK."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.labels import targets, wordnet
from catlipctl.labels.targets.labelset import QUALIFIER
from catlipctl.labels.targets.words import candidates

GRAPH = wordnet.nouns()


@pytest.mark.parametrize(
    ("target", "first", "guessed"),
    [
        ("cifar10", 1.0, 1.0),
        ("cifar100", 0.77, 0.88),
        ("coco", 0.775, 0.86),
        ("ade20k", 0.74, 0.85),
        ("places365", 0.78, 0.85),
        ("sun397", 0.798, 0.865),
        # Not imagenet, whose classes are the company; and no rule was chosen by this one.
        ("imagenet21k", 0.817, 0.86),
    ],
)
def test_share_of_labels_whose_synsets_are_guessed_right(target: str, first: float, guessed: float) -> None:
    labels = targets.load(target).labels
    # Brackets would tell the sense: the built-in sets' names have them from the synsets.
    names = [QUALIFIER.sub("", label.name) for label in labels]
    firsts = [tuple(dict.fromkeys(s[0] for s in candidates(name, GRAPH))) for name in names]
    found = targets.guesses(names)
    right_first = sum(a == label.synsets for a, label in zip(firsts, labels, strict=True)) / len(labels)
    right = sum(a == label.synsets for a, label in zip(found, labels, strict=True)) / len(labels)
    assert right_first == pytest.approx(first, abs=0.01)
    assert guessed <= right <= guessed + 0.02


def guess(*names: str, known: tuple[str, ...] = ()) -> list[list[str]]:
    return [[GRAPH.name(key) for key in keys] for keys in targets.guesses(names, known)]


def test_a_hot_dog_is_food_and_no_person() -> None:
    assert guess("pizza", "hot dog", "person", "cake", "sandwich")[1] == ["hotdog.n.02"]
    assert guess("tabby", "hot dog", "racing car")[1] == guess("hot dog")[0] == ["hotdog.n.02"]
    labels = {label.name: label for label in targets.load("coco").labels}
    first = GRAPH.synsets("hot_dog")[0]
    assert GRAPH.key_of("person.n.01") in GRAPH.above(first)
    assert targets.guesses(["hot dog"]) == [labels["hot dog"].synsets]


def test_one_label_alone_has_the_company_of_imagenets() -> None:
    labels = [label for label in targets.load("sun397").labels if candidates(label.name, GRAPH)]
    alone = [targets.guesses([label.name])[0] == label.synsets for label in labels]
    first = [(candidates(label.name, GRAPH)[0][0],) == label.synsets for label in labels]
    assert sum(alone) >= sum(first) + 5


def test_known_labels_are_company_too() -> None:
    birds, machines = (
        tuple(sorted(GRAPH.descendants(str(GRAPH.key_of(name)))))[:20]
        for name in ("wading_bird.n.01", "machine.n.01")
    )
    assert guess("crane", known=birds) == [["crane.n.05"]]
    assert guess("crane", known=machines) == [["crane.n.04"]]


def test_seals_and_cranes_go_with_their_company() -> None:
    assert guess("walrus", "seal", "sea lion")[1] == ["seal.n.09"]
    assert guess("heron", "stork", "crane")[2] == ["crane.n.05"]
    assert guess("crane (wading bird)", "crane (lifting device)") == [["crane.n.05"], ["crane.n.04"]]


def test_information_is_that_of_nltks_synsets_below(nltk_data: Path) -> None:  # noqa: ARG001
    from nltk.corpus import wordnet as wn

    for name in ("dog.n.01", "carnivore.n.01", "river.n.01", "pug.n.01"):
        synset = wn.synset(name)
        below = {synset, *synset.closure(lambda s: s.hyponyms() + s.instance_hyponyms())}
        expected = 1 - math.log(len(below)) / math.log(82_115)
        assert GRAPH.information(str(GRAPH.key_of(name))) == pytest.approx(expected)
        above = {s.name() for s in synset.closure(lambda s: s.hypernyms() + s.instance_hypernyms())}
        assert {GRAPH.name(key) for key in GRAPH.above(str(GRAPH.key_of(name)))} == above | {name}


words = st.sampled_from(
    ["hot dog", "crane (wading bird)", "xyzzy", "bar stool", "restaurant_kitchen", "Seal"]
)


@given(st.lists(words, min_size=1, max_size=6, unique=True))
def test_what_is_written_is_read_again(names: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        plain, written = Path(folder) / "mine.txt", Path(folder) / "mine.tsv"
        plain.write_text("\n".join(["Dog", *names]), encoding="utf-8")
        found = targets.load(plain)
        written.write_text(targets.tsv(found), encoding="utf-8")
        again = targets.load(written)
    assert [(x.name, x.synsets) for x in again.labels] == [(x.name, x.synsets) for x in found.labels]
    assert (len(found.guessed), len(again.guessed)) == (len(names) + 1, 0)
    assert [label.line for label in found.labels] == list(range(1, len(names) + 2))


def test_a_meaning_says_what_it_is_and_what_it_is_not(nltk_data: Path, tmp_path: Path) -> None:  # noqa: ARG001
    from nltk.corpus import wordnet as wn

    (tmp_path / "mine.txt").write_text("pizza\nhot dog\nsandwich\nxyzzy\n", encoding="utf-8")
    found = targets.load(tmp_path / "mine.txt")
    meaning = targets.meanings(found)[1]
    (sense,) = meaning.senses
    synset = wn.synset("hotdog.n.02")
    assert (meaning.label, meaning.line, sense.synset) == ("hot dog", 2, "hotdog.n.02")
    assert sense.lemmas == [name.replace("_", " ") for name in synset.lemma_names()]
    path = synset.hypernym_paths()[0][::-1][1:]
    assert sense.above == [s.lemma_names()[0].replace("_", " ") for s in path][: len(sense.above)]
    assert sense.above[0] == "sandwich"
    others = {s.name() for s in wn.synsets("hot_dog", "n")} - {"hotdog.n.02"}
    assert set(sense.others) == others
    assert targets.without_synset(found) == "line 4: xyzzy"


def test_which_sets_are_multi_label() -> None:
    several = {name for name in targets.BUILT_IN if targets.load(name).multi_label}
    assert several == {"coco", "ade20k"}
    assert targets.load("cifar10", multi_label=True).multi_label
    assert not targets.load("coco", multi_label=False).multi_label
