"""Vocabularies: which label keys are classes, and which class id each one has."""

from catlipctl.vocabulary.counting import build, count_shards
from catlipctl.vocabulary.counts import Counts
from catlipctl.vocabulary.merging import merge
from catlipctl.vocabulary.pruning import TooFewLabels, prune, pruned
from catlipctl.vocabulary.vocabulary import Encoder, Vocabulary, load, of_sub_words, parse

__all__ = [
    "Counts",
    "Encoder",
    "TooFewLabels",
    "Vocabulary",
    "build",
    "count_shards",
    "load",
    "merge",
    "of_sub_words",
    "parse",
    "prune",
    "pruned",
]
