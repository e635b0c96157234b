"""What a label set is, and which synsets the names of its classes probably mean."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from catlipctl.labels.wordnet import NounGraph


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a label set, with what it means.

    synsets: keys of WordNet nouns (`n02084071`).
    One: the label is that synset.
    Several: the label is made of several words (`restaurant_kitchen`), and takes part in all of them. Whoever
    looks for its classifier row (CatLIP 4.2) looks for a row of each synset, and averages those that are
    found. None: nothing in WordNet fits.
    """

    name: str
    synsets: tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set; a label's place is its class id, and no two labels have one name."""

    name: str
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, name: str) -> int | None:
        """The class id of a class folder's name: a label, or a synset's key that only one label has; else
        None.

        Where it leaves no doubt, what file systems and data sets change does not count: case, what is between
        words.
        """
        return self._ids[name] if name in self._ids else self._ids.get(_plain(name))

    @cached_property
    def _ids(self) -> dict[str, int]:
        spellings = [(_plain(label.name), i) for i, label in enumerate(self.labels)]
        spellings += [(label.synsets[0], i) for i, label in enumerate(self.labels) if len(label.synsets) == 1]
        uses = Counter(spelling for spelling, _ in spellings)
        exact = {label.name: i for i, label in enumerate(self.labels)}
        return {spelling: i for spelling, i in spellings if uses[spelling] == 1} | exact


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


# These are nouns too (angstrom, inch, ...), but never in the name of a class.
FUNCTION_WORDS = set("a an and at by for from in no of off on or the to with".split())  # noqa: SIM905

QUALIFIER = re.compile(r"\s*\([^)]*\)\s*$")


def synsets_of(name: str, graph: NounGraph) -> tuple[str, ...]:
    """Keys of what a class name means: the first noun sense of the whole name, else of the longest runs of
    its words.

    `fire_station` is one synset, `restaurant_kitchen` two; words that are no nouns are passed over, and so is
    what follows a slash (`bazaar/indoor`). The first sense is a guess: a file that gives synsets decides for
    itself.
    """
    words = spoken(name).lower().replace("-", " ").split()
    found: list[str] = []
    while words:
        for length in range(len(words), 0, -1):
            key = _first_sense("_".join(words[:length]), graph)
            if key is not None:
                break
        if key is not None and key not in found:
            found.append(key)
        words = words[length:]
    return tuple(found)


def spoken(name: str) -> str:
    """A class name as people say it: without underscores, and without what tells it apart from another after
    a slash or in brackets (`bazaar/indoor`, `crane (wading bird)`).
    """
    return QUALIFIER.sub("", name.split("/")[0].replace("_", " "))


def extracted(target: LabelSet, extract: Callable[[str], list[str]]) -> LabelSet:
    """The label set with those synsets that `extract` finds in the names of its classes (CatLIP 3.1)."""
    found = (Label(label.name, tuple(dict.fromkeys(extract(spoken(label.name))))) for label in target.labels)
    return LabelSet(target.name, tuple(found))


def _first_sense(lemma: str, graph: NounGraph) -> str | None:
    if lemma in FUNCTION_WORDS:
        return None
    senses = graph.synsets(lemma) or graph.synsets(graph.lemmatize(lemma))
    return senses[0] if senses else None


def names_of(keys: Sequence[str], graph: NounGraph) -> list[str]:
    """A name for each synset, no two alike: its first lemma, with its kind where two would be the same.

    ImageNet has two cranes: `crane (lifting device)` and `crane (wading bird)`.
    """
    plain = [_words(graph, key) for key in keys]
    kinds = [f"{name} ({_kind(graph, key)})" for name, key in zip(plain, keys, strict=True)]
    exact = [f"{name} ({key})" for name, key in zip(plain, keys, strict=True)]
    names = plain
    for longer in (kinds, exact):
        seen: dict[str, int] = {}
        for name in names:
            seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
        names = [
            more if seen[name.casefold()] > 1 else name for name, more in zip(names, longer, strict=True)
        ]
    return names


def _words(graph: NounGraph, key: str) -> str:
    return graph.lemmas(key)[0].replace("_", " ")


def _kind(graph: NounGraph, key: str) -> str:
    parents = graph.hypernyms(key) or graph.instance_hypernyms(key)
    return _words(graph, parents[0]) if parents else key
