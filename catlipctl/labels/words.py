"""What a caption yields, word by word, and why."""

from typing import TYPE_CHECKING

from pydantic import BaseModel

from catlipctl.results import Result

if TYPE_CHECKING:
    from catlipctl.labels import Extractor


class Word(BaseModel):
    """One token of a caption and what became of it."""

    token: str
    lemma: str
    synset: str | None = None
    """Name of the noun's first sense, `dog.n.01`; None where WordNet has no such noun."""
    key: str | None = None
    kept: bool = False
    why: str


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


def labelled(caption: str, extractor: "Extractor") -> LabelledCaption:
    """A caption with its labels and their explanation."""
    words = extractor.explain(caption)
    return LabelledCaption(caption=caption, labels=[w.key for w in words if w.kept and w.key], words=words)
