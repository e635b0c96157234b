"""Which classes the captions of images name: those of a vocabulary, or the tags of a list."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catlipctl import labels
from catlipctl.data import Source
from catlipctl.data.sample import Sample
from catlipctl.errors import UsageError
from catlipctl.labels import wordnet
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import Progress
from catlipctl.vocabulary import Encoder, Vocabulary

Naming = Callable[[Sequence[str]], Iterable[int]]
"""Of an image's captions the classes that they name, each once."""


@dataclass(frozen=True)
class Named:
    """The classes that the captions of N images name: pairs of an image's row and a class, by class.

    classes: how many there are. starts: `[classes + 1]`, where the rows of each class begin in `rows`.
    """

    images: int
    classes: int
    rows: Tensor
    starts: Tensor

    @property
    def counts(self) -> Tensor:
        """`[classes]`: the images of each."""
        return self.starts.diff()

    def block(self, ids: Sequence[int]) -> Tensor:
        """`[N, len(ids)]`, bool: which images have these classes."""
        found = torch.zeros(self.images, len(ids), dtype=torch.bool)
        for place, i in enumerate(ids):
            found[self.rows[self.starts[i] : self.starts[i + 1]], place] = True
        return found


def of_vocabulary(vocabulary: Vocabulary) -> Naming:
    """The classes of a vocabulary, as pre-training learns them."""
    encode = Encoder(vocabulary)
    return lambda captions: encode(Sample("", None, tuple(captions)))


def of_tags(tags: LabelSet, vocabulary: Vocabulary) -> Naming:
    """The tags whose synsets, or kinds of them, captions name: all synsets of one that is made of several.

    UsageError for a vocabulary whose labels are no synsets.
    """
    graph = wordnet.nouns()
    if not any(key in graph for key in vocabulary.keys):
        raise UsageError(
            f"the labels of extractor {vocabulary.extractor} are no synsets: tags have none of their rows",
            "take a run whose vocabulary is of corenet or nouns",
        )
    extract = labels.extractor(vocabulary.extractor)
    parts = _parts(tags)
    whole = [len(label.synsets) for label in tags.labels]

    def naming(captions: Sequence[str]) -> list[int]:
        keys = {key for caption in captions for key in extract(caption)}
        found = {part for key in keys for part in parts.get(key, ())}
        met = [0] * len(whole)
        for tag, _ in found:
            met[tag] += 1
        return [tag for tag, count in enumerate(met) if count and count == whole[tag]]

    return naming


def _parts(tags: LabelSet) -> Mapping[str, Sequence[tuple[int, str]]]:
    """Of a synset's key the tags that it is a part of, each with the synset that it is or is a kind of."""
    graph = wordnet.nouns()
    found: dict[str, list[tuple[int, str]]] = {}
    for tag, label in enumerate(tags.labels):
        for synset in label.synsets:
            for key in {synset, *graph.descendants(synset)}:
                found.setdefault(key, []).append((tag, synset))
    return found


def named(source: Source, naming: Naming, classes: int, samples: Tensor, progress: Progress) -> Named:
    """What the captions of the images `samples` (indices of the source, ascending) name."""
    pairs: list[Tensor] = []
    row = torch.full((len(source),), -1)
    row[samples] = torch.arange(len(samples))
    with progress.task("reading captions", len(source), "images") as task:
        for place, captions in zip(row.tolist(), source.captions(), strict=True):
            task.advance()
            if place >= 0 and (ids := list(naming(captions))):
                pairs.append(torch.tensor([[place] * len(ids), ids]))
    rows, ids = torch.cat([torch.empty(2, 0, dtype=torch.int64), *pairs], 1)
    order = ids.argsort(stable=True)
    counts = torch.bincount(ids, minlength=classes)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Named(len(samples), classes, rows[order], starts)
