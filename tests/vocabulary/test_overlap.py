"""Overlap against NLTK's path similarity, pair by pair."""

import random
from pathlib import Path

import pytest

from catlipctl.errors import DataError
from catlipctl.labels import targets
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.labels.wordnet import nouns
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import overlap, steps


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


def test_imagenet_within_reach_of_single_words(nltk_data: Path) -> None:  # noqa: ARG001
    from nltk.corpus import wordnet

    imagenet = targets.load("imagenet")
    names = [
        wordnet.synset_from_pos_and_offset("n", int(label.synsets[0][1:])).name() for label in imagenet.labels
    ]
    heads = sum(name.endswith(".n.01") and "_" not in name for name in names)
    reachable = overlap(vocabulary_of(["n02084071"]), imagenet).reachable
    # 395 are named by one word's first sense; NLTK's tokenizer splits the word of one of them.
    assert (heads, reachable) == (395, 394)


def test_keys_that_are_no_synsets() -> None:
    with pytest.raises(DataError, match="no WordNet noun"):
        overlap(vocabulary_of(["49406"]), targets.load("cifar10"))
