"""What stands nearest to each label: in the vocabulary by WordNet, and in the target by its row."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel
from torch import Tensor
from torch.nn.functional import normalize

from catlipctl.labels import wordnet
from catlipctl.transfer.initialise.rows import TransferredHead

SHOWN = 3
CHUNK = 1024
"""Rows that are compared with all others at a time: 21,000 with 21,000 would be gigabytes."""


class ClassNearby(BaseModel):
    """A missed synset, and the vocabulary's classes that are nearest to it, by path similarity."""

    synset: str
    classes: list[str]
    similarity: float


class LabelNearby(BaseModel):
    """Another label of the target, and the cosine of the angle between the two rows."""

    label: str
    cosine: float


class Neighbours(BaseModel):
    """What stands nearest to a label. classes: one for each of its missed synsets. labels: the nearest first.

    Labels of one row have a cosine of 1; a random row is near to none.
    """

    classes: list[ClassNearby]
    labels: list[LabelNearby]


def neighbours(head: TransferredHead, vocabulary: Sequence[str]) -> list[Neighbours]:
    """One for each label, in the account's order."""
    graph = wordnet.nouns()
    missed = {name: str(graph.key_of(name)) for row in head.account for name in row.missed}
    candidates = [key for key in vocabulary if key in graph and not graph.instance_hypernyms(key)]
    nearest = graph.nearest(list(missed.values()), candidates)
    nearby = {
        name: ClassNearby(
            synset=name, classes=[graph.name(candidates[i]) for i in found], similarity=float(similarity)
        )
        for name, found, similarity in zip(missed, nearest.matches, nearest.similarity, strict=True)
    }
    return [
        Neighbours(classes=[nearby[name] for name in row.missed], labels=labels)
        for row, labels in zip(head.account, _labels(head), strict=True)
    ]


def _labels(head: TransferredHead) -> Iterator[list[LabelNearby]]:
    """Of each label, the others whose rows are most like its own."""
    # What all rows have in common tells no two of them apart.
    rows = normalize(head.weight - head.weight.mean(0), dim=1)
    for start in range(0, len(rows), CHUNK):
        cosines: Tensor = rows[start : start + CHUNK] @ rows.T
        own = range(start, start + len(cosines))
        cosines[range(len(cosines)), own] = -2
        best = cosines.topk(min(SHOWN, len(rows) - 1))
        for values, ids in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            yield [
                LabelNearby(label=head.account[i].label, cosine=round(value, 4))
                for value, i in zip(values, ids, strict=True)
            ]
