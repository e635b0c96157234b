"""Captions to label keys: what an extractor is and says, and the one of each name.

Below: the extractors, the WordNet noun graph (`wordnet`), and label sets (`targets`).
"""

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from pydantic import BaseModel

from catlipctl.errors import UsageError
from catlipctl.results import Result

__all__ = [
    "EXTRACTORS",
    "SUBWORDS",
    "Extractor",
    "LabelledCaption",
    "Labels",
    "Word",
    "extractor",
    "labelled",
    "names",
]

SUBWORDS = ("subword", "subword-without-stop-words")
"""Extractors whose keys are sub-words of CLIP's vocabulary."""
EXTRACTORS = ("corenet", "nouns", *SUBWORDS)
"""Names that `extractor` knows."""


class Word(BaseModel):
    """One token of a caption and what became of it."""

    token: str
    lemma: str
    synset: str | None = None
    """Name of the noun's first sense, `dog.n.01`; None where WordNet has no such noun."""
    key: str | None = None
    kept: bool = False
    why: str


class Extractor(Protocol):
    """Caption -> label keys; pure and picklable. `version` changes whenever the keys of any caption do."""

    name: str

    @property
    def version(self) -> str:
        """Asked for at the start: it may need data that are not there (MachineError)."""

    def __call__(self, caption: str) -> list[str]:
        """Keys in order of appearance, repeats kept; empty where the caption has none."""

    def explain(self, caption: str) -> list[Word]:
        """Each token of the caption and what became of it; those kept give `__call__`'s keys."""

    def reach(self) -> frozenset[str] | None:
        """The synsets that captions of ordinary words yield, its ceiling; None where keys are no synsets."""

    @property
    def misses(self) -> int:
        """How many chunks between white space were not remembered when a caption had them."""


@cache
def extractor(name: str = "corenet") -> Extractor:
    """The extractor of that name, one a process.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "corenet":
        # Brings NLTK and ftfy, half a second that whoever only reads keys need not spend.
        from catlipctl.labels.corenet import CorenetExtractor

        return CorenetExtractor()
    if name == "nouns":
        from catlipctl.labels.nouns import NounsExtractor

        return NounsExtractor()
    if name == "subword":
        from catlipctl.labels.subword import SubwordExtractor

        return SubwordExtractor()
    if name == "subword-without-stop-words":
        from catlipctl.labels.subword import ContentExtractor

        return ContentExtractor()
    raise UsageError(f"no extractor is called {name!r}", f"there is: {', '.join(EXTRACTORS)}")


def names(keys: Sequence[str], extractor: str) -> list[str]:
    """A name for each key: WordNet's first lemma, `dog`; of sub-words their text, all else as it is."""
    from catlipctl.labels import bpe, wordnet

    if extractor in SUBWORDS:
        return [bpe.text(key) for key in keys]
    graph = wordnet.nouns()
    return [graph.lemmas(key)[0].replace("_", " ") if key in graph else key for key in keys]


class LabelledCaption(BaseModel):
    """A caption with its labels: keys in order of appearance, those of the words that are kept."""

    caption: str
    labels: list[str]
    words: list[Word]


class Labels(Result):
    """Captions with their labels."""

    extractor: str
    extractor_version: str
    captions: list[LabelledCaption]


def labelled(caption: str, extractor: Extractor) -> LabelledCaption:
    """A caption with its labels and their explanation."""
    words = extractor.explain(caption)
    return LabelledCaption(caption=caption, labels=[w.key for w in words if w.kept and w.key], words=words)
