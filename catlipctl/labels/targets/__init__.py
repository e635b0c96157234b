"""Target label sets: the classes of a downstream data set, and the WordNet noun synsets that each one means.

Built in: imagenet, imagenet21k, places365, coco, ade20k, cifar10, cifar100, sun397, and `emoji`, the demo's
transfer set. Anything else is a TSV file (`file.py` has the format) or the `account.csv` that Transfer Init
wrote.
"""

from catlipctl.labels.targets.file import BUILT_IN, listed, load, without_synset
from catlipctl.labels.targets.labelset import (
    HOWS,
    How,
    Label,
    LabelSet,
    Mapping,
    Senses,
    extracted,
    similarity_of,
)
from catlipctl.labels.targets.senses import Meanings, guesses, meanings, tsv
from catlipctl.labels.targets.words import read_by

__all__ = [
    "BUILT_IN",
    "HOWS",
    "How",
    "Label",
    "LabelSet",
    "Mapping",
    "Meanings",
    "Senses",
    "extracted",
    "guesses",
    "listed",
    "load",
    "meanings",
    "read_by",
    "similarity_of",
    "tsv",
    "without_synset",
]
