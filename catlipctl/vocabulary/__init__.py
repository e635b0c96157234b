"""Vocabularies: which label keys are classes, and which class id each one has."""

from catlipctl.vocabulary.counting import build, count_shards
from catlipctl.vocabulary.counts import Counts
from catlipctl.vocabulary.frequencies import HEAD_BIASES, log_frequencies, log_odds
from catlipctl.vocabulary.merging import merge
from catlipctl.vocabulary.pruning import TooFewLabels, prune, pruned
from catlipctl.vocabulary.vocabulary import Encoder, Vocabulary, load, of_sub_words, parse

__all__ = [
    "HEAD_BIASES",
    "Counts",
    "Encoder",
    "TooFewLabels",
    "Vocabulary",
    "build",
    "count_shards",
    "load",
    "log_frequencies",
    "log_odds",
    "merge",
    "of_sub_words",
    "parse",
    "prune",
    "pruned",
]
