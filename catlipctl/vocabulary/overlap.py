"""How much of a target label set a vocabulary covers (CatLIP Figure 2b)."""

from collections.abc import Sequence

from pydantic import BaseModel, Field

from catlipctl import labels
from catlipctl.errors import DataError
from catlipctl.labels import wordnet
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.labels.wordnet import NounGraph
from catlipctl.results import Result
from catlipctl.vocabulary.vocabulary import Vocabulary

FARTHEST = 10
"""Path similarities are 1/1, 1/2, ...; they are shown down to one over this."""


class ClassMatch(BaseModel):
    """What a target class finds in the vocabulary.

    similarity: path similarity to the nearest of the vocabulary's synsets; of a label made of several words,
    that of the word which fares worst; 0 for a label without a synset. matches: all that are as near. tied:
    more than one a word.
    count: how often they were counted, together.
    """

    label: str
    synsets: list[str]
    similarity: float
    matches: list[str]
    match_names: list[str]
    tied: bool
    count: int

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
        }


class Step(BaseModel):
    """How many target classes have a match of at least this similarity."""

    at_least: str
    similarity: float
    classes: int
    share: float


class Overlap(Result):
    """A vocabulary against a target label set.

    exact: classes whose every synset is in the vocabulary. reachable: classes that could be exact with this
    extractor, had the source any caption. distinct: different sets of matches; a classifier made from the
    matches has no more different rows than that. steps: cumulative, in descending similarity.
    files: plots and tables that were written of it.
    """

    target: str
    vocabulary_size: int
    classes: int
    exact: int
    reachable: int
    distinct: int
    unmapped: int
    steps: list[Step]
    matches: list[ClassMatch]
    files: list[str] = Field(default_factory=list)


def overlap(vocabulary: Vocabulary, target: LabelSet) -> Overlap:
    """The vocabulary's nearest synsets to each class of `target`, by WordNet path similarity as NLTK defines
    it.

    Raises DataError for a vocabulary whose keys are no WordNet nouns.
    """
    graph = wordnet.nouns()
    foreign = next((key for key in vocabulary.keys if key not in graph), None)
    if foreign is not None:
        raise DataError(
            f"the vocabulary's key {foreign} is no WordNet noun",
            "overlap is a distance in WordNet: it needs a vocabulary of synsets (extractor corenet)",
        )
    matches = _matches(vocabulary, target, graph)
    return Overlap(
        target=target.name,
        vocabulary_size=len(vocabulary),
        classes=len(target),
        exact=sum(match.similarity == 1 for match in matches),
        reachable=_reachable(vocabulary.extractor, target.labels, graph),
        distinct=len({tuple(sorted(match.matches)) for match in matches if match.matches}),
        unmapped=sum(not match.synsets for match in matches),
        steps=steps([match.similarity for match in matches]),
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


def _matches(vocabulary: Vocabulary, target: LabelSet, graph: NounGraph) -> list[ClassMatch]:
    synsets = list(dict.fromkeys(key for label in target.labels for key in label.synsets))
    nearest = graph.nearest(synsets, vocabulary.keys)
    place = {key: i for i, key in enumerate(synsets)}
    found = []
    for label in target.labels:
        rows = [place[key] for key in label.synsets]
        ids = list(dict.fromkeys(i for row in rows for i in nearest.matches[row]))
        keys = [vocabulary.keys[i] for i in ids]
        found.append(
            ClassMatch(
                label=label.name,
                synsets=list(label.synsets),
                similarity=min((float(nearest.similarity[row]) for row in rows), default=0.0),
                matches=keys,
                match_names=[graph.name(key) for key in keys],
                tied=any(len(nearest.matches[row]) > 1 for row in rows),
                count=sum(vocabulary.counts[i] for i in ids),
            )
        )
    return found


def _reachable(extractor: str, classes: Sequence[Label], graph: NounGraph) -> int:
    extract = labels.extractor(extractor)

    def reached(key: str) -> bool:
        return any(key in extract(lemma.replace("_", " ")) for lemma in graph.lemmas(key))

    return sum(bool(label.synsets) and all(map(reached, label.synsets)) for label in classes)
