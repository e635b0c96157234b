"""Which classes of a vocabulary a target label is met by (CatLIP, 4.2): names alone, no weights.

A label is its head nouns (`labels.targets.words`), each a synset, and a synset is looked for in this order:

    exact       it is a class of the vocabulary
    hyponyms    classes of the vocabulary are kinds of it: `animal` stands in no caption, but its kinds do;
                instances, as Jordan is of river, are no kinds
    similar     the classes most similar by path similarity, at or above a minimum; all ties. It goes up from
                instances too, as NLTK's does
    random      nothing fits

A label made of several words (several synsets) has each looked for by itself, and is the average over those
found: `averaged` where all are, `partial` where some are `missed`.

The paper says less, and `mapping="paper"` does no more: no mean of kinds, and a label one of whose words is
missed is random as a whole. What `similar` there finds may be an instance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catlipctl.labels import wordnet
from catlipctl.labels.targets import How, LabelSet, Mapping, similarity_of

MIN_SIMILARITY = 0.5
"""A parent or a child."""


@dataclass(frozen=True, slots=True)
class SynsetMatch:
    """What a synset is met by: classes of the vocabulary, whose mean stands for it.

    similarity: the path similarity of the synset to the nearest of them: 1 for `exact`.
    """

    how: How
    sources: tuple[str, ...]
    similarity: float


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """What a label is met by: one match for each of its words that has one. missed: synsets of the others."""

    how: How
    matches: tuple[SynsetMatch, ...]
    missed: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The classes of the vocabulary that take part, each once."""
        return tuple(dict.fromkeys(source for match in self.matches for source in match.sources))

    @property
    def similarity(self) -> float:
        """That of the worst of its words; those that are missed count 0 (`similarity_of`)."""
        return similarity_of([match.similarity for match in self.matches] + [0.0] * len(self.missed))


def match_labels(
    labelset: LabelSet,
    vocabulary: Sequence[str],
    min_similarity: float = MIN_SIMILARITY,
    mapping: Mapping = "heads",
) -> list[LabelMatch]:
    """What each label of `labelset` is met by among the keys of `vocabulary`, in the label set's order.

    Its names are taken as they were read: `read_by` reads them as the mapping does.
    """
    synsets = dict.fromkeys(synset for label in labelset.labels for synset in label.synsets)
    matches = _match(list(synsets), vocabulary, min_similarity, mapping)
    label_matches = []
    for label in labelset.labels:
        found = tuple(matches[synset] for synset in label.synsets if synset in matches)
        missed = tuple(synset for synset in label.synsets if synset not in matches)
        if missed and mapping == "paper":
            found = ()
        label_matches.append(LabelMatch(_how(found, missed), found, missed))
    return label_matches


def _how(found: Sequence[SynsetMatch], missed: Sequence[str]) -> How:
    if not found:
        return "random"
    if missed:
        return "partial"
    return "averaged" if len(found) > 1 else found[0].how


def _match(
    synsets: list[str], vocabulary: Sequence[str], min_similarity: float, mapping: Mapping
) -> dict[str, SynsetMatch]:
    graph = wordnet.nouns()
    candidates = [key for key in vocabulary if key in graph]  # a vocabulary may hold keys that are no synsets
    rank = {key: i for i, key in enumerate(candidates)}
    matches: dict[str, SynsetMatch] = {}
    for synset in synsets:
        if synset in rank:
            matches[synset] = SynsetMatch("exact", (synset,), 1.0)
        elif mapping == "heads" and (kinds := graph.descendants(synset) & rank.keys()):
            ranked = tuple(sorted(kinds, key=rank.__getitem__))
            nearest_kind = float(graph.nearest([synset], ranked).similarity[0])
            matches[synset] = SynsetMatch("hyponyms", ranked, nearest_kind)
    rest = [synset for synset in synsets if synset not in matches]
    # An instance is no class like another: a river is not to be made of Jordan and Niger.
    if mapping == "heads":
        candidates = [key for key in candidates if not graph.instance_hypernyms(key)]
    if rest and candidates:
        nearest = graph.nearest(rest, candidates)
        for synset, similarity, ties in zip(rest, nearest.similarity, nearest.matches, strict=True):
            if similarity >= min_similarity:
                matches[synset] = SynsetMatch(
                    "similar", tuple(candidates[i] for i in sorted(ties)), float(similarity)
                )
    return matches
