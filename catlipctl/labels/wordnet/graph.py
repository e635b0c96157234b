"""WordNet 3.0's noun graph: synsets, lemmas in sense order, hypernyms, and path similarity as NLTK has it."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlipctl.labels.wordnet.similarity import Nearest, ancestors, edges, nearest, path_similarity

DATA = Path(__file__).with_name("nouns.npz")
SYNSET_NAME = re.compile(r"(?P<lemma>\S+)\.n\.(?P<sense>[0-9]{1,3})")


class NounGraph:
    """All 82,115 noun synsets of WordNet 3.0, named by keys: `n` and the 8-digit offset, `n02084071`.

    Keys are ImageNet's wnids; unknown ones raise KeyError. The file is made, and described, by `compile.py`.
    """

    def __init__(self, path: Path = DATA) -> None:
        with np.load(path, allow_pickle=False) as tables:
            self._offsets: NDArray[np.int32] = tables["offsets"]
            spellings = tables["spellings"].tobytes().decode("ascii")
            exceptions = tables["exceptions"].tobytes().decode("ascii")
            self._lemmas = _Ragged(tables, "lemmas")
            self._senses = _Ragged(tables, "senses")
            self._above = _Ragged(tables, "hypernyms")
            of_instances = tables["hypernyms_of_instances"]
        self._hypernyms, self._instance_hypernyms = (
            self._above.where(edges) for edges in (~of_instances, of_instances)
        )
        self._spellings = spellings.split("\n")
        self._lowered = spellings.lower().split("\n")
        # Spellings that differ in case alone have equal senses, so it is all one which row wins.
        self._row_of_lemma = dict(zip(self._lowered, range(len(self._lowered)), strict=True))
        self._exceptions = {word: bases for word, *bases in map(str.split, exceptions.split("\n"))}

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, key: object) -> bool:
        return key in self._row_of_key

    @cached_property
    def keys(self) -> list[str]:
        """All keys, by offset: the position of a key is its `index`."""
        return [f"n{offset:08d}" for offset in self._offsets.tolist()]

    @cached_property
    def _row_of_key(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}

    def index(self, key: str) -> int:
        """The position of `key` in `keys`."""
        return self._row_of_key[key]

    def name(self, key: str) -> str:
        """NLTK's canonical name: the first lemma and the number of this sense of it, `dog.n.01`."""
        row = self.index(key)
        first = self._lemmas[row][0]
        return f"{self._lowered[first]}.n.{self._senses[first].index(row) + 1:02d}"

    def key_of(self, name: str) -> str | None:
        """The key of a noun synset's name, synonyms resolved as NLTK does; None where there is none.

        `automobile.n.01` and `car.n.01` are one synset, n02958343.
        """
        match = SYNSET_NAME.fullmatch(name.lower())
        row = self._row_of_lemma.get(match["lemma"]) if match else None
        if match is None or row is None:
            return None
        senses, number = self._senses[row], int(match["sense"])
        return self.keys[senses[number - 1]] if 1 <= number <= len(senses) else None

    def lemmas(self, key: str) -> tuple[str, ...]:
        """The synset's lemmas in WordNet's order and spelling, underscores between words: `New_York`."""
        return tuple(self._spellings[i] for i in self._lemmas[self.index(key)])

    def words(self) -> list[str]:
        """All lemmas of a single word, in lower case."""
        return [lemma for lemma in self._lowered if "_" not in lemma]

    def first_senses(self) -> dict[str, str]:
        """Each lemma, in lower case with underscores between words -> the key of its most frequent sense."""
        rows = self._senses.values[self._senses.start[:-1]].tolist()
        return {lemma: self.keys[rows[i]] for lemma, i in self._row_of_lemma.items()}

    def first_sense(self, lemma: str) -> str | None:
        """The key of a lemma's most frequent sense; lemmas as in `first_senses`, None for others."""
        row = self._row_of_lemma.get(lemma)
        return None if row is None else self.keys[int(self._senses.values[self._senses.start[row]])]

    def synsets(self, lemma: str) -> tuple[str, ...]:
        """The keys of a lemma's senses, most frequent first. Spaces or underscores, any case; no plurals."""
        row = self._row_of_lemma.get(lemma.lower().replace(" ", "_"))
        return () if row is None else tuple(self.keys[i] for i in self._senses[row])

    def head_key(self, lemma: str) -> str | None:
        """The key of `<lemma>.n.01` if that is the synset's own name and not a synonym; else None."""
        row = self._row_of_lemma.get(lemma)
        if row is None:
            return None
        synset = self._senses[row][0]
        is_head = self._lowered[self._lemmas[synset][0]] == lemma
        return self.keys[synset] if is_head else None

    def lemmatize(self, word: str) -> str:
        """The shortest noun lemma that `word` may be a form of, else `word`: NLTK's `WordNetLemmatizer`."""
        return min(self._base_forms(word), key=len, default=word)

    def morphy(self, word: str) -> str | None:
        """The first noun lemma that `word` may be a form of: NLTK's `wordnet.morphy(word, "n")`."""
        return next(iter(self._base_forms(word)), None)

    def bases(self, word: str) -> list[str]:
        """The noun lemmas that `word` may be a plural of, by exception or else by rule; never itself."""
        return [form for form in self._base_forms(word) if form != word]

    def _base_forms(self, word: str) -> list[str]:
        """morphy(7WN) as NLTK has it: the word itself, then its exceptional or else its regular bases."""
        bases = self._exceptions.get(word)
        if bases is None:
            bases = [word[: -len(s)] + base for s, base in PLURALS if word.endswith(s)]
        return [form for form in dict.fromkeys([word, *bases]) if form in self._row_of_lemma]

    def hypernyms(self, key: str) -> tuple[str, ...]:
        """The synsets directly above, of which this is a kind: NLTK's `hypernyms()`."""
        return self._keys_of(self._hypernyms, key)

    def instance_hypernyms(self, key: str) -> tuple[str, ...]:
        """The synsets of which this is an instance, as Jordan is of river: NLTK's `instance_hypernyms()`."""
        return self._keys_of(self._instance_hypernyms, key)

    def hyponyms(self, key: str) -> tuple[str, ...]:
        """The synsets directly below that are kinds of this: NLTK's `hyponyms()`."""
        return self._keys_of(self._hyponyms, key)

    def instance_hyponyms(self, key: str) -> tuple[str, ...]:
        """The synsets that are instances of this: NLTK's `instance_hyponyms()`."""
        return self._keys_of(self._instance_hyponyms, key)

    def descendants(self, key: str) -> set[str]:
        """All kinds of this, directly or not, by hyponyms alone: no instances, and `key` not among them."""
        below: set[int] = set()
        unseen = self._hyponyms[self.index(key)]
        while unseen:
            below.update(unseen)
            unseen = list({child for row in unseen for child in self._hyponyms[row]} - below)
        return {self.keys[i] for i in below}

    def above(self, key: str) -> set[str]:
        """All that this is a kind or an instance of, directly or not, and `key` itself."""
        return {self.keys[row] for row in ancestors(self._above, self.index(key))}

    def information(self, key: str) -> float:
        """Information content by how few synsets lie below: 0 of `entity`, 1 of a leaf (Seco et al. 2004)."""
        return float(self._information[self.index(key)])

    @cached_property
    def _information(self) -> NDArray[np.float64]:
        below = np.zeros(len(self), np.int64)  # each synset counts as below itself
        for row in range(len(self)):
            below[list(ancestors(self._above, row))] += 1
        information: NDArray[np.float64] = 1 - np.log(below) / np.log(len(self))
        return information

    def _keys_of(self, edges: "_Ragged", key: str) -> tuple[str, ...]:
        return tuple(self.keys[i] for i in edges[self.index(key)])

    @cached_property
    def _hyponyms(self) -> "_Ragged":
        return self._hypernyms.transposed()

    @cached_property
    def _instance_hyponyms(self) -> "_Ragged":
        return self._instance_hypernyms.transposed()

    @cached_property
    def _below(self) -> "_Ragged":
        return self._above.transposed()

    def path_similarity(self, a: str, b: str) -> float:
        """1 / (1 + edges from both up to a common ancestor): NLTK's, in (0, 1], 1 for equal synsets.

        As NLTK's it goes up from kinds and from instances.
        """
        return path_similarity(self._above, self.index(a), self.index(b))

    def edges(self, targets: Sequence[str], candidates: Sequence[str]) -> Iterator[NDArray[np.float64]]:
        """For each target `[candidates]`: edges between the two, of which `path_similarity` is made."""
        rows = ([self.index(key) for key in keys] for keys in (targets, candidates))
        return edges(self._above, *rows)

    def nearest(self, targets: Sequence[str], candidates: Sequence[str]) -> Nearest:
        """The candidates most similar to each target by `path_similarity`, all ties."""
        rows = ([self.index(key) for key in keys] for keys in (targets, candidates))
        return nearest(self._above, self._below, *rows)


PLURALS = [
    ("s", ""),
    ("ses", "s"),
    ("ves", "f"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
]
"""Morphy's rules of detachment for nouns (morphy(7WN)), with NLTK's `ves`."""


class _Ragged:
    """Rows of different lengths: row i is `values[start[i] : start[i + 1]]`."""

    def __init__(self, tables: Any, name: str) -> None:
        self.values: NDArray[np.int32] = tables[name]
        self.start: NDArray[np.int32] = tables[f"{name}_start"]

    def __getitem__(self, row: int) -> list[int]:
        return self.values[self.start[row] : self.start[row + 1]].tolist()

    def where(self, kept: NDArray[np.bool_]) -> "_Ragged":
        """The rows with those values alone that are `kept`."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return _Ragged({"_": self.values[kept], "__start": before[self.start]}, "_")

    def transposed(self) -> "_Ragged":
        """The rows in which each row is named, in ascending order."""
        rows = np.repeat(np.arange(len(self.start) - 1, dtype=np.int32), np.diff(self.start))
        counts = np.bincount(self.values, minlength=len(self.start) - 1)
        values = rows[np.argsort(self.values, kind="stable")]
        return _Ragged({"_": values, "__start": np.concatenate([[0], np.cumsum(counts)])}, "_")
