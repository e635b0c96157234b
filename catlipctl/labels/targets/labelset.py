"""What a label set is, how near a label is to what is found for it, and names for synsets."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

from catlipctl.labels.wordnet import NounGraph

How = Literal["exact", "hyponyms", "similar", "averaged", "partial", "random"]
"""How Transfer Init meets a label, the best way first; `transfer.initialise.matching` says what each is."""
HOWS: tuple[How, ...] = get_args(How)

Senses = Literal["given", "built-in", "guessed"]
"""Who says what a label means: the label set, by a synset; our table of a data set's names; a guess."""

Mapping = Literal["heads", "paper"]
"""How a name that no synset explains is read (`words.py`), and how it is met (`initialise.matching`)."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a label set, with what it means.

    synsets: keys of WordNet nouns (`n02084071`).
    One: the label is that synset.
    Several: the label is made of several words (`restaurant_kitchen`), and takes part in all of them. Whoever
    looks for its classifier row (CatLIP 4.2) looks for a row of each synset, and averages those that are
    found. None: nothing in WordNet fits.

    senses: who says so. line: of the file, where the name stands there alone; else None.
    """

    name: str
    synsets: tuple[str, ...]
    line: int | None = None
    senses: Senses = "given"


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set; a label's place is its class id, and no two labels have one name.

    multi_label: an image may have several of them; else they exclude each other.
    """

    name: str
    labels: tuple[Label, ...]
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, name: str) -> int | None:
        """The class id of a class folder's name: a label, or a synset's key that only one label has; else
        None.

        Where it leaves no doubt, what file systems and data sets change does not count: case, what is between
        words.
        """
        return self._ids[name] if name in self._ids else self._ids.get(_plain(name))

    @property
    def guessed(self) -> tuple[Label, ...]:
        """The labels whose synsets are a guess."""
        return tuple(label for label in self.labels if label.senses == "guessed")

    @cached_property
    def _ids(self) -> dict[str, int]:
        spellings = [(_plain(label.name), i) for i, label in enumerate(self.labels)]
        spellings += [(label.synsets[0], i) for i, label in enumerate(self.labels) if len(label.synsets) == 1]
        uses = Counter(spelling for spelling, _ in spellings)
        exact = {label.name: i for i, label in enumerate(self.labels)}
        return {spelling: i for spelling, i in spellings if uses[spelling] == 1} | exact


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


QUALIFIER = re.compile(r"\s*\([^)]*\)\s*$")


def spoken(name: str) -> str:
    """A class name as people say it: without underscores, and without what tells it apart from another after
    a slash or in brackets (`bazaar/indoor`, `crane (wading bird)`).
    """
    return QUALIFIER.sub("", name.split("/")[0].replace("_", " "))


def extracted(target: LabelSet, extract: Callable[[str], list[str]]) -> LabelSet:
    """The label set with those synsets that `extract` finds in the names of its classes (CatLIP 3.1)."""
    found = (Label(label.name, tuple(dict.fromkeys(extract(spoken(label.name))))) for label in target.labels)
    return replace(target, labels=tuple(found))


def similarity_of(words: Iterable[float]) -> float:
    """How near a label is to what is found for it, by how near each of its words is: as the worst of them.

    A word that is missed counts 0. So does a label without a word.
    """
    return min(words, default=0.0)


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
