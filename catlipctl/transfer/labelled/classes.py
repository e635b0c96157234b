"""Which classes labelled images have, in order, and of which class each image is."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from catlipctl.errors import DataError
from catlipctl.labels import wordnet
from catlipctl.labels.targets import Label, LabelSet, guesses

UNLABELLED = -1
SHOWN = 5


def named_classes(labels: Sequence[str | None], target: LabelSet | None) -> LabelSet:
    """The label set of those classes that occur in `labels`.

    With a target: its labels, in its order, by `LabelSet.find`. Without: the names in alphabetical order,
    each meaning what is guessed of it (`guesses`). Raises DataError for a name that the target lacks, or
    fewer than two.
    """
    names = sorted({label for label in labels if label is not None})
    if target is None:
        graph = wordnet.nouns()
        given = [name for name in names if name in graph]
        words = [name for name in names if name not in graph]
        found = dict(zip(words, guesses(words, given), strict=True))
        present = LabelSet(
            "class names",
            tuple(
                Label(name, found[name], senses="guessed") if name in found else Label(name, (name,))
                for name in names
            ),
        )
    else:
        unknown = [name for name in names if target.find(name) is None]
        if unknown:
            raise DataError(
                f"{len(unknown)} classes of the data are not labels of {target.name}: {_some(unknown)}",
                "name the class folders as the label set does, or leave --target out",
            )
        ids = sorted({i for name in names if (i := target.find(name)) is not None})
        present = LabelSet(target.name, tuple(target.labels[i] for i in ids))
    if len(present) < 2:
        raise DataError(
            f"the data has labels of {len(present)} classes; a classifier needs two",
            "give class folders, or name where the label is with --label-key",
        )
    return present


def without_images(target: LabelSet | None, classes: LabelSet) -> str:
    """What to say of the target's labels of which there is no image; empty where there is nothing to say."""
    present = {label.name for label in classes.labels}
    absent = [label.name for label in target.labels if label.name not in present] if target else []
    if not absent or target is None:
        return ""
    return (
        f"{len(absent):,} of the {len(target):,} labels of {target.name} have no training image and no place "
        f"in the classifier: {_some(absent)}"
    )


def class_ids(labels: Sequence[str | None], classes: LabelSet) -> Tensor:
    """`[N]`, the class id of each sample, -1 where it has no label.

    Raises DataError for labels that `classes` lacks: nothing was trained for them.
    """
    found = {name: classes.find(name) for name in set(labels) - {None} if name is not None}
    missing = Counter(label for label in labels if label is not None and found[label] is None)
    if missing:
        raise DataError(
            f"{missing.total():,} test images are of classes without training images: "
            + _some(sorted(missing)),
            "give such classes training images, or leave them out of the test",
        )
    ids = [UNLABELLED if label is None else found[label] for label in labels]
    return torch.tensor(ids, dtype=torch.int64)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
