"""Target label sets: the classes of a downstream data set, and the WordNet noun synsets that each one means.

Built in: imagenet, imagenet21k, places365, coco, ade20k, cifar10, cifar100, sun397, and `emoji`, the demo's
transfer set. Anything else is a TSV file (`file.py` has the format) or the `account.csv` that Transfer Init
wrote.
"""

from catlipctl.labels.targets.file import BUILT_IN, listed, load, without_synset
from catlipctl.labels.targets.labelset import HOWS, How, Label, LabelSet, extracted, similarity_of
from catlipctl.labels.targets.senses import Meanings, guesses, meanings, tsv

__all__ = [
    "BUILT_IN",
    "HOWS",
    "How",
    "Label",
    "LabelSet",
    "Meanings",
    "extracted",
    "guesses",
    "listed",
    "load",
    "meanings",
    "similarity_of",
    "tsv",
    "without_synset",
]
