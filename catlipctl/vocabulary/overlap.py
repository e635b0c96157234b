"""How much of a target label set a vocabulary covers (CatLIP Figures 2b and 2c), and at which thresholds."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Literal

from pydantic import BaseModel, Field

from catlipctl import labels
from catlipctl.errors import DataError
from catlipctl.labels import wordnet
from catlipctl.labels.targets import LabelSet, extracted, similarity_of
from catlipctl.labels.wordnet import Nearest
from catlipctl.results import Measurement
from catlipctl.vocabulary.vocabulary import Vocabulary

Senses = Literal["wnid", "extracted"]
"""Which synsets a class means: those of the label set, or those that the vocabulary's extractor finds in the
class's name (CatLIP 3.1)."""

PROTOCOL = "overlap: WordNet path similarity of the nearest synset"
FARTHEST = 10
"""Path similarities are 1/1, 1/2, ...; they are shown down to one over this."""


class ClassMatch(BaseModel):
    """What a target class finds in the vocabulary.

    similarity: path similarity to the nearest of the vocabulary's synsets; of a label made of several words,
    that of the word which fares worst; 0 for a label without a synset. matches: all that are as near. tied:
    more than one a word.
    count: how often they were counted, together. ceiling: the highest similarity that any vocabulary of this
    extractor can have; None where the extractor is not known here.
    """

    label: str
    synsets: list[str]
    similarity: float
    matches: list[str]
    match_names: list[str]
    tied: bool
    count: int
    ceiling: float | None

    def row(self) -> dict[str, str | float | int]:
        """The match as a row of a table; similarity to four digits."""
        return {
            "label": self.label,
            "synsets": " ".join(self.synsets),
            "similarity": round(self.similarity, 4),
            "matches": " ".join(self.matches),
            "match_names": " ".join(self.match_names),
            "tied": int(self.tied),
            "count": self.count,
            "ceiling": "" if self.ceiling is None else round(self.ceiling, 4),
        }


class Step(BaseModel):
    """How many target classes have a match of at least this similarity."""

    at_least: str
    similarity: float
    classes: int
    share: float


class Coverage(BaseModel):
    """A vocabulary pruned at `threshold`, against a target label set.

    size: its synsets, those counted more often than the threshold. covered: classes of the target whose
    synsets are all among them. recall: covered / classes of the target. precision: the share of `size` that
    are synsets of the target, 0 where nothing is left.
    """

    threshold: int
    size: int
    covered: int
    recall: float
    precision: float


class Overlap(BaseModel):
    """A vocabulary against a target label set.

    exact: classes whose every synset is in the vocabulary. distinct: different sets of matches; a classifier
    made from the matches has no more different rows than that. unmapped: classes without a synset. steps:
    cumulative, in descending similarity. ceiling: the same for all synsets that the extractor can ever yield,
    had the source any caption; None where the extractor is not known here. target_synsets: how many there
    are; occurrences: those that are in the vocabulary, and how often each was counted (Figure 2c). coverage:
    precision and recall at rising pruning thresholds.
    """

    vocabulary: str
    extractor: str
    target: str
    senses: Senses
    vocabulary_size: int
    classes: int
    exact: int
    distinct: int
    unmapped: int
    steps: list[Step]
    ceiling: list[Step] | None
    target_synsets: int
    occurrences: dict[str, int]
    coverage: list[Coverage]
    matches: list[ClassMatch]


class Overlaps(Measurement):
    """One or several vocabularies against a target label set. files: plots and tables written of it."""

    protocol: str = PROTOCOL
    target: str
    senses: Senses
    overlaps: list[Overlap]
    files: list[str] = Field(default_factory=list)


def overlap(
    vocabulary: Vocabulary, target: LabelSet, *, senses: Senses = "wnid", name: str = "the vocabulary"
) -> Overlap:
    """The vocabulary's nearest synsets to each class of `target`, by WordNet path similarity as NLTK defines
    it.

    name: of the vocabulary, for people. Raises DataError for a vocabulary whose keys are no WordNet nouns.
    """
    _refuse_foreign_keys(vocabulary, name)
    if senses == "extracted":
        target = extracted(target, labels.extractor(vocabulary.extractor))
    matches = _matches(vocabulary, target)
    synsets = dict.fromkeys(key for label in target.labels for key in label.synsets)
    index = vocabulary.index
    ceiling = _ceiling(vocabulary.extractor, target)
    return Overlap(
        vocabulary=name,
        extractor=vocabulary.extractor,
        target=target.name,
        senses=senses,
        vocabulary_size=len(vocabulary),
        classes=len(target),
        exact=sum(match.similarity == 1 for match in matches),
        distinct=len({tuple(sorted(match.matches)) for match in matches if match.matches}),
        unmapped=sum(not match.synsets for match in matches),
        steps=steps([match.similarity for match in matches]),
        ceiling=None if ceiling is None else steps(ceiling),
        target_synsets=len(synsets),
        occurrences={key: vocabulary.counts[index[key]] for key in synsets if key in index},
        coverage=coverage(vocabulary, target),
        matches=matches,
    )


def steps(similarities: Sequence[float]) -> list[Step]:
    """Cumulative numbers of classes at similarity >= 1, 1/2, ..., 1/10."""
    found = []
    for n in range(1, FARTHEST + 1):
        classes = sum(similarity >= 1 / n for similarity in similarities)
        share = classes / max(len(similarities), 1)
        found.append(
            Step(at_least="1" if n == 1 else f"1/{n}", similarity=1 / n, classes=classes, share=share)
        )
    return found


def _refuse_foreign_keys(vocabulary: Vocabulary, name: str) -> None:
    graph = wordnet.nouns()
    foreign = next((key for key in vocabulary.keys if key not in graph), None)
    if foreign is not None:
        kind = "sub-words" if vocabulary.extractor in labels.SUBWORDS else "keys that are not WordNet nouns"
        raise DataError(
            f"{name} holds {kind}, such as {foreign}: WordNet has no distance between them",
            "overlap needs synsets: catlipctl vocab build --data SOURCE --extractor corenet",
        )


def _matches(vocabulary: Vocabulary, target: LabelSet) -> list[ClassMatch]:
    graph = wordnet.nouns()
    nearest, place = _nearest(target, vocabulary.keys)
    ceiling = _ceiling(vocabulary.extractor, target)
    found = []
    for number, label in enumerate(target.labels):
        rows = [place[key] for key in label.synsets]
        ids = list(dict.fromkeys(i for row in rows for i in nearest.matches[row]))
        keys = [vocabulary.keys[i] for i in ids]
        found.append(
            ClassMatch(
                label=label.name,
                synsets=list(label.synsets),
                similarity=_farthest(nearest, rows),
                matches=keys,
                match_names=[graph.name(key) for key in keys],
                tied=any(len(nearest.matches[row]) > 1 for row in rows),
                count=sum(vocabulary.counts[i] for i in ids),
                ceiling=None if ceiling is None else ceiling[number],
            )
        )
    return found


@lru_cache(maxsize=8)
def _ceiling(extractor: str, target: LabelSet) -> tuple[float, ...] | None:
    """The similarity of each class to the nearest synset that the extractor can yield at all."""
    reach = labels.extractor(extractor).reach() if extractor in labels.EXTRACTORS else None
    if reach is None:
        return None
    nearest, place = _nearest(target, sorted(reach))
    return tuple(_farthest(nearest, [place[key] for key in label.synsets]) for label in target.labels)


def _nearest(target: LabelSet, candidates: Sequence[str]) -> tuple[Nearest, dict[str, int]]:
    """The candidates nearest to each synset of the target, and the row of each synset there."""
    synsets = list(dict.fromkeys(key for label in target.labels for key in label.synsets))
    nearest = wordnet.nouns().nearest(synsets, candidates)
    return nearest, {key: row for row, key in enumerate(synsets)}


def _farthest(nearest: Nearest, rows: Sequence[int]) -> float:
    return similarity_of(float(nearest.similarity[row]) for row in rows)


def coverage(vocabulary: Vocabulary, target: LabelSet) -> list[Coverage]:
    """Precision and recall at thresholds 1, 2, 5, 10, 20, ..., from the lowest of which the vocabulary has
    all synsets to the last that leaves any.
    """
    found = dict(zip(vocabulary.keys, vocabulary.counts, strict=True))
    wanted = {key for label in target.labels for key in label.synsets}
    # A class goes when its rarest synset does.
    rarest = [
        min(found.get(key, 0) for key in label.synsets) if label.synsets else 0 for label in target.labels
    ]
    classes = sorted(rarest)
    theirs = sorted(found.get(key, 0) for key in wanted)
    rows = []
    for threshold in thresholds(vocabulary):
        size = vocabulary.size_at(threshold)
        covered = len(classes) - bisect_left(classes, threshold + 1)
        hits = len(theirs) - bisect_left(theirs, threshold + 1)
        rows.append(
            Coverage(
                threshold=threshold,
                size=size,
                covered=covered,
                recall=covered / max(len(target), 1),
                precision=hits / max(size, 1),
            )
        )
    return rows


def thresholds(vocabulary: Vocabulary) -> list[int]:
    """The vocabulary's least threshold, then 1, 2, 5, 10, ... as far as they leave a synset."""
    least, found = vocabulary.least_threshold, [vocabulary.least_threshold]
    for threshold in (digit * 10**power for power in count() for digit in (1, 2, 5)):
        if threshold >= vocabulary.counts[0]:
            return found
        if threshold > least:
            found.append(threshold)
    raise AssertionError("counts are finite")
