"""What anyone can look up about WordNet 3.0's nouns, with no corpus at hand."""

import subprocess
import sys

import pytest

from catlipctl.labels import wordnet

NOUNS = wordnet.nouns()


def test_as_many_synsets_and_roots_as_wordnet_documents() -> None:
    assert len(NOUNS) == len(set(NOUNS.keys)) == 82_115  # wnstats(7WN)
    roots = [k for k in NOUNS.keys if not NOUNS.hypernyms(k) and not NOUNS.instance_hypernyms(k)]
    assert [NOUNS.name(key) for key in roots] == ["entity.n.01"]


def test_an_instance_is_no_kind() -> None:
    jordan, river = NOUNS.key_of("jordan.n.01"), NOUNS.key_of("river.n.01")
    assert jordan is not None
    assert river is not None
    assert NOUNS.instance_hypernyms(jordan) == (river,)
    assert NOUNS.hypernyms(jordan) == ()
    assert jordan not in NOUNS.descendants(river)
    assert NOUNS.path_similarity(jordan, river) == 0.5


@pytest.mark.parametrize(
    ("wnid", "lemmas"),
    [
        ("n01440764", ("tench", "Tinca_tinca")),
        ("n02119022", ("red_fox", "Vulpes_vulpes")),
        ("n03000134", ("chainlink_fence",)),
        ("n15075141", ("toilet_tissue", "toilet_paper", "bathroom_tissue")),
    ],
)
def test_imagenet_wnids_are_keys(wnid: str, lemmas: tuple[str, ...]) -> None:
    assert wnid in NOUNS
    assert NOUNS.lemmas(wnid) == lemmas
    assert NOUNS.keys[NOUNS.index(wnid)] == wnid


def test_names_resolve_synonyms_and_refuse_the_rest() -> None:
    car = NOUNS.key_of("car.n.01")
    assert car == NOUNS.key_of("automobile.n.01") == "n02958343"
    assert NOUNS.name("n02958343") == "car.n.01"
    for name in ("car.n.06", "car.n.00", "car.v.01", "car", "", ".n.01", "car.n.x", "car.n." + "9" * 9999):
        assert NOUNS.key_of(name) is None


def test_senses_are_found_by_words_in_any_case() -> None:
    assert NOUNS.synsets("hot dog") == NOUNS.synsets("Hot_Dog")
    assert [NOUNS.name(key) for key in NOUNS.synsets("hot dog")] == [
        "hotdog.n.01",
        "hotdog.n.02",
        "frank.n.02",
    ]
    assert NOUNS.synsets("dogs") == ()


def test_unknown_keys_raise() -> None:
    for unknown in ("n2084071", "n00000000", "", "dog"):
        assert unknown not in NOUNS
        with pytest.raises(KeyError):
            NOUNS.index(unknown)


def test_similarity_of_nltks_documentation() -> None:
    assert (
        NOUNS.path_similarity("n02084071", "n02121620") == 0.2
    )  # dog, cat: https://www.nltk.org/howto/wordnet
    assert NOUNS.path_similarity("n02084071", "n02084071") == 1.0


def test_nearest_lists_all_ties_and_bears_nothing_to_choose_from() -> None:
    dog, puppy, corgi, cat = (NOUNS.synsets(lemma)[0] for lemma in ("dog", "puppy", "corgi", "cat"))
    found = NOUNS.nearest([dog, cat], [puppy, corgi, puppy])
    assert found.similarity.tolist() == [0.5, 1 / 6]
    assert found.matches == [[0, 1, 2], [0, 1, 2]]
    assert NOUNS.nearest([dog], []).matches == [[]]
    assert NOUNS.nearest([dog], []).similarity.tolist() == [0.0]
    assert NOUNS.nearest([], [dog]).matches == []


def test_the_graph_needs_no_nltk() -> None:
    code = (
        "import sys; from catlipctl.labels import wordnet; wordnet.nouns(); assert 'nltk' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
