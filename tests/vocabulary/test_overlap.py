"""Overlap against NLTK's path similarity, pair by pair."""

import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl import labels
from catlipctl.errors import DataError
from catlipctl.labels import targets
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.labels.wordnet import nouns
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import coverage, overlap, steps, thresholds


def vocabulary_of(keys: list[str]) -> Vocabulary:
    counts = tuple(range(len(keys), 0, -1))
    return Vocabulary(tuple(keys), counts, "corenet", "1", "made", 1, 0, "occurrences", 0)


def test_best_matches_and_ties_are_nltks(nltk_data: Path) -> None:  # noqa: ARG001
    from nltk.corpus import wordnet

    draw = random.Random(0)
    classes = draw.sample(targets.load("imagenet").labels, 10)
    keys = draw.sample(nouns().keys, 50) + [label.synsets[0] for label in classes[:3]]
    candidates = [wordnet.synset_from_pos_and_offset("n", int(key[1:])) for key in keys]
    made = vocabulary_of(keys)
    found = overlap(made, LabelSet("sample", tuple(classes)))
    for label, match in zip(classes, found.matches, strict=True):
        synset = wordnet.synset_from_pos_and_offset("n", int(label.synsets[0][1:]))
        similarities = [synset.path_similarity(candidate) for candidate in candidates]
        best = [i for i, similarity in enumerate(similarities) if similarity == max(similarities)]
        assert match.similarity == pytest.approx(max(similarities))
        assert match.matches == [made.keys[i] for i in best]
        assert match.match_names == [candidates[i].name() for i in best]
        assert match.tied == (len(best) > 1)
        assert match.count == sum(made.counts[i] for i in best)
    assert found.exact == found.steps[0].classes >= 3
    for step, n in zip(found.steps, range(1, 11), strict=True):
        assert step.classes == sum(match.similarity >= 1 / n for match in found.matches)


def test_several_words_are_as_near_as_the_farthest_and_no_synset_is_nowhere() -> None:
    dog, cat, kitchen = "n02084071", "n02121620", "n03619890"
    labels = (Label("dog kitchen", (dog, kitchen)), Label("cat", (cat,)), Label("nothing", ()))
    found = overlap(vocabulary_of([dog]), LabelSet("mine", labels))
    dog_kitchen, alone, nothing = found.matches
    assert dog_kitchen.similarity < alone.similarity == pytest.approx(0.2)
    assert (nothing.similarity, nothing.matches, found.unmapped) == (0, [], 1)
    assert (found.exact, found.distinct, found.classes) == (0, 1, 3)


def test_steps_are_cumulative() -> None:
    assert [step.classes for step in steps([1, 0.5, 1 / 3, 0])] == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
    assert steps([1, 0])[0].share == 0.5
    assert [step.at_least for step in steps([])][:3] == ["1", "1/2", "1/3"]


@pytest.mark.slow
def test_all_best_matches_of_a_large_vocabulary_are_nltks(nltk_data: Path) -> None:  # noqa: ARG001
    import numpy as np
    from nltk.corpus import wordnet

    def synset(key: str) -> Any:
        return wordnet.synset_from_pos_and_offset("n", int(key[1:]))

    reach = labels.extractor("corenet").reach()
    assert reach is not None
    keys = random.Random(0).sample(sorted(reach), 24_000)
    imagenet = targets.load("imagenet")
    found = overlap(vocabulary_of(keys), imagenet)
    # All distances of all candidates, by NLTK's hypernym distances: ancestor -> candidates below, edges up.
    below: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for position, key in enumerate(keys):
        for ancestor, edges in dict(sorted(synset(key).hypernym_distances(), key=lambda d: -d[1])).items():
            below[ancestor].append((position, edges))
    above = {ancestor: np.array(pairs).T for ancestor, pairs in below.items()}
    pairs = 0
    for label, match in zip(imagenet.labels, found.matches, strict=True):
        target = synset(label.synsets[0])
        distance = np.full(len(keys), 99)
        for ancestor, edges in target.hypernym_distances():
            if ancestor in above:
                positions, further = above[ancestor]
                distance[positions] = np.minimum(distance[positions], further + edges)
        best = [keys[i] for i in np.flatnonzero(distance == distance.min())]
        assert match.matches == best
        for key in best:
            assert target.path_similarity(synset(key)) == match.similarity
            pairs += 1
    assert pairs > 1000


def test_ceilings_of_imagenet(nltk_data: Path) -> None:  # noqa: ARG001
    from nltk.corpus import wordnet

    imagenet = targets.load("imagenet")
    names = [
        wordnet.synset_from_pos_and_offset("n", int(label.synsets[0][1:])).name() for label in imagenet.labels
    ]
    heads = sum(name.endswith(".n.01") and "_" not in name for name in names)
    found = overlap(vocabulary_of(["n02084071"]), imagenet)
    assert found.ceiling is not None
    # 395 are named by one word's first sense; NLTK's tokenizer splits the word of one of them.
    assert heads == 395
    assert [step.classes for step in found.ceiling[:3]] == [394, 775, 971]
    assert all(match.similarity <= (match.ceiling or 0) for match in found.matches)


def test_a_vocabulary_of_all_that_the_extractor_yields_is_at_its_ceiling() -> None:
    reach = labels.extractor("corenet").reach()
    assert reach is not None
    found = overlap(vocabulary_of(sorted(reach)), targets.load("places365"))
    assert found.ceiling == found.steps
    unknown = replace(vocabulary_of(["n02084071"]), extractor="someone's")
    assert overlap(unknown, targets.load("cifar10")).ceiling is None


def test_senses_extracted_from_the_names() -> None:
    extract = labels.extractor("corenet")
    tiger_shark, crane = "n01494475", "n02012849"
    named = LabelSet(
        "mine",
        (
            Label("tiger shark", (tiger_shark,)),
            Label("crane (wading bird)", (crane,)),
            Label("bar_stool/indoor", ()),
        ),
    )
    found = overlap(vocabulary_of(["n02084071"]), named, senses="extracted")
    assert [match.synsets for match in found.matches] == [
        extract("tiger shark"),
        extract("crane"),
        extract("bar stool"),
    ]
    assert (found.senses, found.target_synsets) == (
        "extracted",
        len({*extract("tiger shark crane bar stool")}),
    )
    own = overlap(vocabulary_of(["n02084071"]), named)
    assert (own.senses, own.target_synsets, own.unmapped) == ("wnid", 2, 1)
    # What is extracted can be reached by definition.
    assert found.ceiling is not None
    assert found.ceiling[0].classes == 3


def test_occurrences_are_those_of_the_targets_synsets_in_the_vocabulary() -> None:
    dog, cat, kitchen = "n02084071", "n02121620", "n03619890"
    found = overlap(
        vocabulary_of([kitchen, dog]), LabelSet("mine", (Label("a", (dog, cat)), Label("b", (dog,))))
    )
    assert (found.occurrences, found.target_synsets) == ({dog: 1}, 2)


@pytest.mark.parametrize("extractor", ["subword", "corenet"])
def test_keys_that_are_no_synsets(extractor: str) -> None:
    made = replace(vocabulary_of(["n02084071", "dog</w>"]), extractor=extractor)
    with pytest.raises(DataError, match=r"words\.json holds .*dog</w>") as refused:
        overlap(made, targets.load("cifar10"), name="words.json")
    assert ("sub-words" in refused.value.message) == (extractor == "subword")
    assert "--extractor corenet" in refused.value.hint


KEYS = nouns().keys[:12]


def counted_vocabulary(counts: list[int], threshold: int = 0) -> Vocabulary:
    counts = sorted(counts, reverse=True)
    return Vocabulary(
        tuple(KEYS[: len(counts)]), tuple(counts), "corenet", "1", "made", 9, 0, "occurrences", threshold
    )


classes = st.lists(st.lists(st.sampled_from(KEYS), max_size=3, unique=True), min_size=1, max_size=6)


@given(st.lists(st.integers(3, 300), min_size=1, max_size=8), classes)
def test_recall_and_precision_are_those_of_the_sets(counts: list[int], synsets: list[list[str]]) -> None:
    made = counted_vocabulary(counts, threshold=2)
    target = LabelSet("mine", tuple(Label(f"class {i}", tuple(keys)) for i, keys in enumerate(synsets)))
    rows = coverage(made, target)
    assert [row.threshold for row in rows] == thresholds(made)
    for row in rows:
        left = {key for key, count in zip(made.keys, made.counts, strict=True) if count > row.threshold}
        covered = [keys for keys in synsets if keys and set(keys) <= left]
        theirs = left & {key for keys in synsets for key in keys}
        assert (row.size, row.covered) == (len(left), len(covered))
        assert row.recall == len(covered) / len(synsets)
        assert row.precision == pytest.approx(len(theirs) / len(left))


def test_thresholds_begin_where_the_vocabulary_can_speak() -> None:
    assert thresholds(counted_vocabulary([70, 30, 4], threshold=3)) == [3, 5, 10, 20, 50]
    assert thresholds(counted_vocabulary([3, 1])) == [0, 1, 2]
    # The most frequent two: the third may have counted 30 as well.
    assert thresholds(replace(counted_vocabulary([70, 30]), max_size=2)) == [30, 50]
    assert thresholds(replace(counted_vocabulary([5, 5]), max_size=2)) == [5]
    assert (
        coverage(replace(counted_vocabulary([5, 5]), max_size=2), LabelSet("one", (Label("a", ()),)))[
            0
        ].precision
        == 0
    )
