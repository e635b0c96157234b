"""Which synsets the names of classes probably mean, where a label set gives names alone.

The classes of a set are alike, and like those of other sets. So of a name's senses the one is taken that is
frequent and near to the set's other labels, and to ImageNet's. `hot dog` is food, though WordNet's first
sense of it is a daredevil.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources

from pydantic import BaseModel

from catlipctl.labels import wordnet
from catlipctl.labels.targets.labelset import Label, LabelSet
from catlipctl.labels.targets.words import candidates
from catlipctl.labels.wordnet import NounGraph
from catlipctl.results import Result

SHARPNESS = 3
"""Exponent of the similarity to another label: near ones decide, far ones hardly count."""

COMPANY = 10.0
"""ImageNet's classes count as so many labels more: they decide where a set has few labels of its own."""


class Sense(BaseModel):
    """What one word of a label means. above: the kinds that it is of, from the nearest up, without the last
    ones, which are above all things. others: names of the word's other senses, the most frequent first.
    """

    synset: str
    key: str
    lemmas: list[str]
    above: list[str]
    others: list[str] = []


class Meaning(BaseModel):
    """A label and what its words mean. line: of the file, where that is a guess; else None."""

    label: str
    line: int | None
    senses: list[Sense]


class Meanings(Result):
    """What the labels of a set mean. file: the label set that was written of it."""

    target: str
    multi_label: bool
    labels: list[Meaning]
    file: str | None = None


def guesses(names: Sequence[str], known: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Keys of what each name of a set means, by its head nouns (`words.py`).

    `fire_station` is one synset, `restaurant_kitchen` two. A sense's
    score is its mean similarity to the other labels over the square root of its rank in WordNet's order. The
    other labels take part by each of their senses, weighted by rank. Similarity is the information content of
    what two synsets have in common over that of the sense (after Lin, 1998), to the power of `SHARPNESS`.
    known: synsets of labels whose meaning is given, which take part too. How many guesses are right stands in
    tests/labels/targets/test_senses.py.
    """
    graph = wordnet.nouns()
    words = [candidates(name, graph) for name in names]
    weights = {senses: _weights(senses, graph) for senses in {s for label in words for s in label}}
    shared = Counter(_company())
    for weight in [weights[senses] for label in words for senses in label]:
        shared.update(weight)
    for key in known:
        shared.update(dict.fromkeys(graph.above(key), 1.0))

    def best(senses: tuple[str, ...]) -> str:
        others = {key: shared[key] - weight for key, weight in weights[senses].items()}
        scores = [_nearness(key, others, graph) / rank**0.5 for rank, key in enumerate(senses, start=1)]
        return senses[scores.index(max(scores))]

    return [tuple(dict.fromkeys(best(senses) for senses in label)) for label in words]


def meanings(target: LabelSet) -> list[Meaning]:
    """What each label means, for people."""
    graph = wordnet.nouns()
    return [
        Meaning(label=label.name, line=label.line, senses=_senses_of(label, graph)) for label in target.labels
    ]


def tsv(target: LabelSet) -> str:
    """The label set as the file that `load` reads; above a guess stand its word's other senses."""
    lines = []
    for meaning in meanings(target):
        lines += [f"# {s.synset}, or {', '.join(s.others)}" for s in meaning.senses if s.others]
        lines.append(f"{meaning.label}\t{','.join(sense.synset for sense in meaning.senses)}")
    return "\n".join(lines) + "\n"


def _senses_of(label: Label, graph: NounGraph) -> list[Sense]:
    words = candidates(label.name, graph) if label.senses == "guessed" else []
    found = []
    for key in label.synsets:
        others = next((senses for senses in words if key in senses), ())
        found.append(
            Sense(
                synset=graph.name(key),
                key=key,
                lemmas=[lemma.replace("_", " ") for lemma in graph.lemmas(key)],
                above=[graph.lemmas(above)[0].replace("_", " ") for above in _path(key, graph)],
                others=[graph.name(other) for other in others if other != key],
            )
        )
    return found


def _path(key: str, graph: NounGraph) -> list[str]:
    """The synsets above, by way of the first one each time, as far as they say something."""
    path: list[str] = []
    while above := graph.hypernyms(key) or graph.instance_hypernyms(key):
        key = above[0]
        path.append(key)
    return path[:-3] or path


def _weights(senses: Sequence[str], graph: NounGraph) -> dict[str, float]:
    """How much of a word lies under each synset: its senses share the weight of one by 1 / rank."""
    weights: Counter[str] = Counter()
    total = sum(1 / rank for rank in range(1, len(senses) + 1))
    for rank, key in enumerate(senses, start=1):
        weights.update(dict.fromkeys(graph.above(key), 1 / rank / total))
    return dict(weights)


@cache
def _company() -> dict[str, float]:
    """How much of ImageNet's classes lies under each synset."""
    graph, under = wordnet.nouns(), Counter[str]()
    lines = (
        resources.files(__package__).joinpath("data", "imagenet.tsv").read_text(encoding="utf-8").split("\n")
    )
    keys = [line for line in lines if line in graph]
    for key in keys:
        under.update(dict.fromkeys(graph.above(key), COMPANY / len(keys)))
    return dict(under)


def _nearness(key: str, others: dict[str, float], graph: NounGraph) -> float:
    """The similarities of a sense to the other labels, summed.

    What lies under an ancestor, but under none that says more, has this ancestor in common with the sense.
    """
    information = sorted((graph.information(above), others[above]) for above in graph.above(key))
    sum_, below = 0.0, 0.0
    for content, weight in information:
        sum_ += weight * (content**SHARPNESS - below)
        below = content**SHARPNESS
    return sum_ / below if below else 0.0
