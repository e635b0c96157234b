"""The compiled noun graph equals NLTK's WordNet 3.0."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catlipctl.labels.wordnet import compile, nouns
from catlipctl.labels.wordnet.graph import DATA, PLURALS

NOUNS = nouns()


@pytest.fixture(scope="module")
def corpus(nltk_data: Path) -> Any:
    from nltk.corpus import wordnet

    assert nltk_data
    wordnet.ensure_loaded()
    return wordnet


def key_of(synset: Any) -> str:
    return f"n{synset.offset():08d}"


@pytest.mark.slow
def test_all_synsets(corpus: Any) -> None:
    below, instances = defaultdict(set), defaultdict(set)
    for synset in corpus.all_synsets("n"):
        key = key_of(synset)
        assert NOUNS.name(key) == synset.name()
        assert NOUNS.lemmas(key) == tuple(synset.lemma_names())
        assert sorted(NOUNS.hypernyms(key)) == sorted(map(key_of, synset.hypernyms()))
        assert sorted(NOUNS.instance_hypernyms(key)) == sorted(map(key_of, synset.instance_hypernyms()))
        for hypernym in synset.hypernyms():
            below[key_of(hypernym)].add(key)
        for hypernym in synset.instance_hypernyms():
            instances[key_of(hypernym)].add(key)
    assert all(set(NOUNS.hyponyms(key)) == below[key] for key in NOUNS.keys)
    assert all(set(NOUNS.instance_hyponyms(key)) == instances[key] for key in NOUNS.keys)


def test_kinds_and_instances_are_told_apart(corpus: Any) -> None:
    for name in ("river.n.01", "country.n.02", "dog.n.01", "physicist.n.01", "city.n.01"):
        synset = corpus.synset(name)
        key = key_of(synset)
        assert sorted(NOUNS.hyponyms(key)) == sorted(map(key_of, synset.hyponyms()))
        assert sorted(NOUNS.instance_hyponyms(key)) == sorted(map(key_of, synset.instance_hyponyms()))
        assert NOUNS.descendants(key) == {key_of(s) for s in synset.closure(lambda s: s.hyponyms())}


@pytest.mark.slow
def test_all_lemmas_in_sense_order(corpus: Any) -> None:
    from nltk.corpus.reader.wordnet import WordNetError

    lemmas = list(corpus.all_lemma_names("n"))
    assert len(lemmas) == 117_798  # wnstats(7WN)
    for lemma in lemmas:
        senses = NOUNS.synsets(lemma)
        for number, key in enumerate(senses, 1):
            name = f"{lemma}.n.{number:02d}"
            assert key_of(corpus.synset(name)) == key == NOUNS.key_of(name)
        with pytest.raises(WordNetError):
            corpus.synset(f"{lemma}.n.{len(senses) + 1:02d}")


@pytest.mark.slow
def test_path_similarity_on_random_pairs(corpus: Any) -> None:
    draw = random.Random(0)
    synsets = list(corpus.all_synsets("n"))
    for _ in range(20_000):
        a, b = draw.sample(synsets, 2)
        if draw.random() < 0.5:  # relatives, whose similarity is high
            b = draw.choice(a.hypernyms() or a.instance_hypernyms() or [a])
            b = draw.choice(b.hyponyms() + b.hypernyms() + [b])
        assert NOUNS.path_similarity(key_of(a), key_of(b)) == a.path_similarity(b)


def test_nearest_equals_brute_force(corpus: Any) -> None:
    draw = random.Random(1)
    some = draw.sample(NOUNS.keys, 250)
    dogs = draw.sample(sorted(NOUNS.descendants("n02084071")), 50)
    candidates = [*some, *dogs, *some[:5]]
    targets = [*draw.sample(NOUNS.keys, 20), *some[:3], "n02084071", "n00001740"]
    found = NOUNS.nearest(targets, candidates)

    def synset(key: str) -> Any:
        return corpus.synset_from_pos_and_offset("n", int(key[1:]))

    for i, target in enumerate(targets):
        similarity = [synset(target).path_similarity(synset(candidate)) for candidate in candidates]
        assert found.similarity[i] == max(similarity)
        assert found.matches[i] == [j for j, value in enumerate(similarity) if value == max(similarity)]


def test_morphology(corpus: Any, nltk_data: Path) -> None:
    from nltk.stem import WordNetLemmatizer

    draw = random.Random(2)
    exceptions = (nltk_data / "corpora/wordnet/noun.exc").read_text().split()
    lemmas = draw.sample(sorted(corpus.all_lemma_names("n")), 20_000)
    endings = ["", "s", "es", *(ending for ending, _ in PLURALS)]
    plurals = [lemma[: draw.choice([None, -1, -2])] + draw.choice(endings) for lemma in lemmas]
    cases = ["", "s", "men", "ses", "us", "Dogs", "DOG", "chien", "狗", "\ud800", "a b", "women's"]
    for word in [*exceptions, *lemmas, *plurals, *cases]:
        assert NOUNS.lemmatize(word) == WordNetLemmatizer().lemmatize(word)
        assert NOUNS.morphy(word) == corpus.morphy(word, "n")


@pytest.mark.slow
@pytest.mark.usefixtures("corpus")
def test_the_compiler_gives_the_package_data(tmp_path: Path) -> None:
    compile.main(tmp_path / "nouns.npz")
    with (
        np.load(DATA, allow_pickle=False) as shipped,
        np.load(tmp_path / "nouns.npz", allow_pickle=False) as new,
    ):
        assert shipped.files == new.files
        for name in new.files:
            np.testing.assert_array_equal(shipped[name], new[name])
