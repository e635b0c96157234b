"""Which classes labelled images have, in order, and of which class or classes each image is."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from catlipctl.data.sample import Labels
from catlipctl.errors import DataError, UsageError
from catlipctl.labels import wordnet
from catlipctl.labels.targets import Label, LabelSet, guesses

UNLABELLED = -1
SHOWN = 5
NUMBER = re.compile(r"[0-9]{1,9}")


def may_be_several(labels: Sequence[Labels], target: LabelSet | None, asked: bool | None = None) -> bool:
    """Whether an image may have several labels, or none: as asked; else by the label set, or by the images.

    Raises DataError for images with several where it is asked that they exclude each other.
    """
    several = [names for names in labels if names is not None and len(names) > 1]
    if asked is False and several:
        raise DataError(
            f"{len(several):,} images have several labels, the first {', '.join(several[0][:SHOWN])}",
            "leave out --exclusive, or name another field with --label-key",
        )
    if asked is not None:
        return asked
    return bool(several) or () in labels or (target is not None and target.multi_label)


def rows_by_number(names: Collection[str], target: LabelSet | None, base: int | None) -> dict[str, str]:
    """What each label of the data is called in `target`: a number is a row of it, the first row is `base`.

    Without a base all stay as they are. Raises DataError for a number without a row, UsageError for a base
    without a target.
    """
    if base is None:
        return {name: name for name in names}
    if target is None:
        raise UsageError(
            "--label-base says which row of a label set a number means, and none is given",
            "name one with --target",
        )
    rows = {name: int(name) - base for name in names if NUMBER.fullmatch(name)}
    if strange := [name for name, row in rows.items() if not 0 <= row < len(target)]:
        raise DataError(
            f"{len(strange):,} numbers are no rows of {target.name}: its {len(target):,} rows are "
            f"{base} to {len(target) - 1 + base}: {_some(sorted(strange, key=int))}",
            f"--label-base is the number of the first row ({target.labels[0].name}): 0 or 1",
        )
    return {name: target.labels[rows[name]].name if name in rows else name for name in names}


def named_classes(
    names: Iterable[str],
    target: LabelSet | None,
    order: Sequence[str] = (),
    *,
    multi_label: bool = False,
) -> LabelSet:
    """The label set of the classes that have these names.

    With a target: its labels, in its order, by `LabelSet.find`. Without: the names in `order`, if it has all
    of them; else numbers by size, and other names by the alphabet. Each then means what is guessed of it
    (`guesses`). Raises DataError for a name that the target lacks, or fewer than two.
    """
    names = set(names)
    if target is None:
        ordered = [name for name in order if name in names]
        if len(ordered) < len(names):
            numbers = all(NUMBER.fullmatch(name) for name in names)
            ordered = sorted(names, key=lambda name: (int(name) if numbers else 0, name))
        graph = wordnet.nouns()
        given = [name for name in ordered if name in graph]
        words = [name for name in ordered if name not in graph]
        found = dict(zip(words, guesses(words, given), strict=True))
        labels = (
            Label(name, found[name], senses="guessed") if name in found else Label(name, (name,))
            for name in ordered
        )
        present = LabelSet("class names", tuple(labels), multi_label)
    else:
        if unknown := sorted(name for name in names if target.find(name) is None):
            raise DataError(
                f"{len(unknown)} classes of the data are not labels of {target.name}: {_some(unknown)}",
                _hint_of(unknown, target),
            )
        ids = sorted({i for name in names if (i := target.find(name)) is not None})
        present = LabelSet(target.name, tuple(target.labels[i] for i in ids), multi_label)
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


def class_ids(labels: Sequence[Labels], ids: Mapping[str, int]) -> Tensor:
    """`[N]`, the class id of each sample, -1 where it has no label. ids: name -> class id.

    Raises DataError for labels that `ids` lacks: nothing was trained for them.
    """
    missing = Counter(names[0] for names in labels if names and names[0] not in ids)
    if missing:
        raise DataError(
            f"{missing.total():,} test images are of classes without training images: "
            + _some(sorted(missing)),
            "give such classes training images, or leave them out of the test",
        )
    found = [ids[names[0]] if names else UNLABELLED for names in labels]
    return torch.tensor(found, dtype=torch.int64)


def class_matrix(labels: Sequence[Labels], ids: Mapping[str, int], classes: int) -> Tensor:
    """`[N, K]`, bool: which classes each sample has; none where nothing is known. ids: name -> class id."""
    counts = torch.tensor([len(names or ()) for names in labels])
    columns = torch.tensor([ids[name] for names in labels for name in names or ()], dtype=torch.int64)
    matrix = torch.zeros(len(labels), classes, dtype=torch.bool)
    matrix[torch.arange(len(labels)).repeat_interleave(counts), columns] = True
    return matrix


def _hint_of(unknown: Sequence[str], target: LabelSet) -> str:
    if all(NUMBER.fullmatch(name) for name in unknown):
        numbers = sorted(map(int, unknown))
        return (
            f"they are numbers, {numbers[0]} to {numbers[-1]}, and the set has {len(target):,} rows: if they "
            f"are its rows, say what the first ({target.labels[0].name}) is: --label-base 0 or --label-base 1"
        )
    return "name the class folders as the label set does, or leave --target out"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
