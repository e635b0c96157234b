"""How the name of a class falls into words that WordNet has: by its head nouns, or as the paper has it.

`heads` reads what a person reads. The longest run of words that is a noun counts as one (`fire_station`), in
any spelling (`fastfood`, `childs_room`, `butchers_shop`). Words that are no nouns are passed over
(`archaeological`), names that only qualify what follows too (`japanese_garden`). So is where the picture was
taken from (`hotel/outdoor`, `car_interior`), and all that follows a slash, unless both together are one noun
(`stadium/football`) or nothing stands before it that is one (`underwater/ocean_deep`).

`paper` is CatLIP 4.2 to the letter: each word by itself, in its most frequent sense, and each has to be a
noun. `archaeological_excavation` and `hotel/outdoor` mean nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from catlipctl.labels import wordnet
from catlipctl.labels.targets.labelset import QUALIFIER, LabelSet, Mapping, spoken
from catlipctl.labels.wordnet import NounGraph

# These are nouns too (angstrom, inch, ...), but never in the name of a class.
FUNCTION_WORDS = set("a an and at by for from in no of off on or the to with".split())  # noqa: SIM905

STANDPOINTS = set("indoor indoors outdoor outdoors interior exterior".split())  # noqa: SIM905
"""Where a picture is taken from, which says nothing of what is in it."""

BETWEEN = re.compile(r"[-_'. ]")
"""What may stand between the parts of a word, or not: `fast food`, `fast-food`, `fastfood`."""

Senses = tuple[str, ...]
"""Keys of what a word may mean, the most frequent first."""


def candidates(name: str, graph: NounGraph) -> list[Senses]:
    """The senses of a class name, or of each of the longest runs of its words, by its head nouns.

    What stands in brackets leaves only the senses that are of this kind, if any are: `crane (wading bird)`.
    """
    kinds = set(graph.synsets(found[0].strip(" ()"))) if (found := QUALIFIER.search(name)) else set()
    before, _, after = QUALIFIER.sub("", name).partition("/")
    together = _senses(_joined([*_words(after), *_words(before)]), graph) if after else ()
    runs = [together] if together else list(_runs(_words(before), graph)) or list(_runs(_words(after), graph))
    return [tuple(key for key in senses if kinds & graph.above(key)) or senses for senses in runs]


def read_by(mapping: Mapping, target: LabelSet) -> LabelSet:
    """The label set as the mapping reads its names; what is given by synsets stays as it is."""
    if mapping == "heads":
        return target
    graph = wordnet.nouns()
    return replace(
        target,
        labels=tuple(
            label
            if label.senses == "given"
            else replace(label, synsets=_every_word(label.name, graph), senses="guessed")
            for label in target.labels
        ),
    )


def _every_word(name: str, graph: NounGraph) -> tuple[str, ...]:
    """The first sense of each word; none where one of them is no noun."""
    senses = [_senses(word, graph, spelling=False) for word in re.split(r"[^\w']+|_", name.lower()) if word]
    return tuple(dict.fromkeys(keys[0] for keys in senses)) if all(senses) else ()


def _words(text: str) -> list[str]:
    words = spoken(text).lower().replace("-", " ").split()
    return [word for word in words if word not in STANDPOINTS] or words


def _joined(words: list[str]) -> str:
    return "_".join(words)


def _runs(words: list[str], graph: NounGraph) -> Iterator[Senses]:
    """The longest runs of words that are nouns; words that are none, and names before a noun, are skipped."""
    while words:
        for length in range(len(words), 0, -1):
            if senses := _common(_senses(_joined(words[:length]), graph), graph):
                rest = list(_runs(words[length:], graph))
                if not (rest and all(_is_name(key, graph) for key in senses)):
                    yield senses
                yield from rest
                return
        words = words[1:]


def _common(senses: Senses, graph: NounGraph) -> Senses:
    """The senses without those that are names, if any are none: `medina` is an old quarter, not a city."""
    return tuple(key for key in senses if not _is_name(key, graph)) or senses


def _is_name(key: str, graph: NounGraph) -> bool:
    """Whether WordNet writes it with a capital: `Japanese`, `Zen`."""
    return graph.lemmas(key)[0][0].isupper()


def _senses(lemma: str, graph: NounGraph, *, spelling: bool = True) -> Senses:
    if lemma in FUNCTION_WORDS:
        return ()
    found = graph.synsets(lemma) or graph.synsets(graph.lemmatize(lemma))
    if found or not spelling:
        return found
    if found := graph.synsets(_joined([graph.lemmatize(word) for word in lemma.split("_")])):
        return found  # butchers_shop is a butcher_shop
    closed = BETWEEN.sub("", lemma)
    known = _closed_spellings()
    return graph.synsets(known.get(closed) or known.get(closed.removesuffix("s")) or "")


@cache
def _closed_spellings() -> dict[str, str]:
    """Lemmas of several parts, by their letters alone."""
    lemmas = wordnet.nouns().first_senses()
    return {BETWEEN.sub("", lemma): lemma for lemma in reversed(lemmas) if BETWEEN.search(lemma)}
