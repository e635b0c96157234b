"""Which images train a classifier and which test it: two sources, or parts of one, stratified by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from catlipctl import data
from catlipctl.data import Source, emoji
from catlipctl.data.content import content_hash
from catlipctl.data.sample import Labels, class_names
from catlipctl.errors import DataError
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import SILENT, Progress
from catlipctl.transfer.labelled.classes import (
    UNLABELLED,
    class_ids,
    class_matrix,
    may_be_several,
    named_classes,
    rows_by_number,
)
from catlipctl.transfer.labelled.subsets import held_out

TEST_SHARE = 0.2
"""Of each class, held out for the test where the data has none."""
TESTS = ("test", "val")


def open_splits(
    spec: str,
    test: str | None = None,
    *,
    label_key: str | None = None,
    image_key: str | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[Source, Source | None]:
    """The training and the test source of a labelled SOURCE.

    `test` names the second. Else a folder's `train` and its `test` or `val` are the two, whether the folder
    or its `train` is named (so are `emoji:transfer`'s); else there is no test source. Raises DataError for a
    folder with a `train` alone, and for what cannot be opened.
    """
    if spec == emoji.TRANSFER or (Path(spec) / "train").is_dir():
        spec = f"{spec}/train"
        if test is None and (test := _beside(spec)) is None:
            raise DataError(f"{Path(spec).parent} has a train/ but neither test/ nor val/", f"--data {spec}")
    elif test is None:
        test = _beside(spec)
    unused = [path for name in TESTS if (path := Path(spec).with_name(name)).is_dir() and str(path) != test]
    if unused and Path(spec).name == "train":
        chosen = "what is chosen on the way is chosen on held-out training images"
        progress.note(f"{test} tests; {unused[0]} is left alone: {chosen}")

    def opened(text: str) -> Source:
        return data.open_source(
            text,
            label_key=label_key,
            image_key=image_key,
            need="labels",
            cache_dir=cache_dir,
            progress=progress,
        )

    return opened(spec), None if test is None else opened(test)


def _beside(train: str) -> str | None:
    """The test images beside a folder named train; None where there are none, or it has another name."""
    if train == emoji.TRAIN:
        return emoji.TEST
    folder = Path(train)
    if folder.name != "train" or not folder.is_dir():
        return None
    return next((str(path) for name in TESTS if (path := folder.with_name(name)).is_dir()), None)


@dataclass(frozen=True)
class Labelled:
    """Images of a source whose classes are known.

    labels: `[len(source)]`, class ids, -1 where there is none; of several a sample `[len(source), K]`, bool.
    indices: `[N]`, ascending, those meant. scored: ids of the classes that may be answered, where test images
    have a part of them; None: all.
    """

    source: Source
    labels: Tensor
    indices: Tensor
    scored: Tensor | None = None


@dataclass(frozen=True)
class LabelledSets:
    """Training and test images, and their classes in order; `classes.multi_label`: an image may have several.

    ids: label -> class id, of the labels that the data spells. split: how the two were told apart.
    unlabelled: images left out of both.
    """

    train: Labelled
    test: Labelled
    classes: LabelSet
    ids: dict[str, int]
    split: str
    unlabelled: int


def labelled_sets(
    train: Source,
    test: Source | None,
    target: LabelSet | None,
    seed: int,
    *,
    multi_label: bool | None = None,
    label_base: int | None = None,
) -> LabelledSets:
    """The labelled images of two sources, or of one of which 20 % are held out, stratified by `seed`.

    target: the label set whose labels the data's class names are; None takes the names themselves.
    multi_label: None looks at the set and the images (`may_be_several`). label_base: numbers in the data are
    rows of the target, the first of which is this. Of several labels an image counts for the rarest in
    the split, and classes of test images alone are classes too. Test images that have a part of exclusive
    classes, as ImageNet-A and -R have 200 of 1,000, are scored among that part, as their authors do. Raises
    DataError for classes that don't fit, and where there is no test image.
    """
    names = train.labels()
    test_names = names if test is None else test.labels()
    several = may_be_several(names if test is None else [*names, *test_names], target, multi_label)
    spelled = _distinct(names)
    called = rows_by_number(spelled | _distinct(test_names), target, label_base)
    meant = called.values() if several else {called[name] for name in spelled}
    classes = named_classes(meant, target, class_names(train), multi_label=several)
    ids = {name: i for name in called if (i := classes.find(called[name])) is not None}

    labels, chosen = _classes_of(names, ids, classes)
    unlabelled = int((~chosen).sum())
    if test is None:
        of = "of the images, by the rarest class of each," if several else "of each class"
        split = f"{TEST_SHARE:.0%} {of} held out for the test, seed {seed}"
        tested = held_out(labels, TEST_SHARE, seed) & chosen
        source, test_labels, chosen = train, labels, chosen & ~tested
    else:
        split = f"the images of {test.name}"
        source, (test_labels, tested) = test, _classes_of(test_names, ids, classes)
        unlabelled += int((~tested).sum())
    if not tested.any():
        raise DataError("there is no labelled test image", "give more images a class, or --test SOURCE")
    scored = None
    if test is not None and not several and len(present := test_labels[tested].unique()) < len(classes):
        scored = present
        split += f", scored among the {len(present):,} of {len(classes):,} classes that they have"
    train_indices, test_indices = (torch.where(mask)[0] for mask in (chosen, tested))
    return LabelledSets(
        Labelled(train, labels, train_indices),
        Labelled(source, test_labels, test_indices, scored),
        classes,
        ids,
        split,
        unlabelled,
    )


def _distinct(labels: Sequence[Labels]) -> set[str]:
    return {name for names in labels for name in names or ()}


def _classes_of(labels: Sequence[Labels], ids: Mapping[str, int], classes: LabelSet) -> tuple[Tensor, Tensor]:
    """The classes of each sample, as `Labelled` has them, and `[N]`, bool: whether they are known."""
    if not classes.multi_label:
        found = class_ids(labels, ids)
        return found, found != UNLABELLED
    known = torch.tensor([names is not None for names in labels])
    return class_matrix(labels, ids, len(classes)), known


def inputs(checkpoint: str, train: Source, test: Source | None, target: LabelSet | None) -> dict[str, str]:
    """What an evaluation was given, as results name it."""
    optional: dict[str, Source | LabelSet | None] = {"test": test, "target": target}
    named = {name: given.name for name, given in optional.items() if given is not None}
    return {"checkpoint": checkpoint, "data": train.name, **named}


def described(source: Source) -> dict[str, str | int]:
    """A source as results name it."""
    return {"source": source.name, "images": len(source), "hash": content_hash(source)}
