"""Which images train a classifier, which test it, and of which class each is: two sources, or parts of one.

Parts are stratified by class and decided by the seed alone.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from catlipctl import data
from catlipctl.data import Source, emoji
from catlipctl.data.content import content_hash
from catlipctl.errors import DataError, UsageError
from catlipctl.labels import wordnet
from catlipctl.labels.targets import Label, LabelSet, guesses
from catlipctl.progress import SILENT, Progress

TEST_SHARE = 0.2
"""Of each class, held out for the test where the data has none."""
TESTS = ("test", "val")
UNLABELLED = -1
SHOWN = 5


@dataclass(frozen=True)
class TrainSize:
    """How much of each class to train on: a number of images a class, or a share of them."""

    images: int | None = None
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "TrainSize":
        """`5/class` or `10%`. Raises UsageError for anything else."""
        if match := re.fullmatch(r"([0-9]+)/class", text):
            if int(match[1]) > 0:
                return cls(images=int(match[1]))
        elif (match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)) and 0 < float(match[1]) <= 100:
            return cls(share=float(match[1]) / 100)
        raise UsageError(f"train size {text!r} is not valid", "write it as 5/class or 10%")

    def __str__(self) -> str:
        return f"{self.images}/class" if self.images is not None else f"{100 * self.share:g}%"

    def of(self, images: int) -> int:
        """How many of a class's `images` are taken: at least one."""
        return min(images, self.images) if self.images is not None else max(1, round(self.share * images))


ALL = TrainSize()


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

    labels: `[len(source)]`, class ids, -1 where there is none. indices: `[N]`, ascending, those meant.
    """

    source: Source
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True)
class LabelledSets:
    """Training and test images, and their classes in order.

    ids: label -> class id, of the labels that the data spells. split: how the two were told apart.
    unlabelled: images left out of both.
    """

    train: Labelled
    test: Labelled
    classes: LabelSet
    ids: dict[str, int]
    split: str
    unlabelled: int


def labelled_sets(train: Source, test: Source | None, target: LabelSet | None, seed: int) -> LabelledSets:
    """The labelled images of two sources, or of one of which 20 % are held out, stratified by `seed`.

    target: the label set whose labels the data's class names are; None takes the names themselves. Raises
    DataError for classes that don't fit, and where there is no test image.
    """
    names = train.labels()
    classes = named_classes(names, target)
    labels = class_ids(names, classes)
    chosen = labels != UNLABELLED
    unlabelled = int((~chosen).sum())
    if test is None:
        split = f"{TEST_SHARE:.0%} of each class held out for the test, seed {seed}"
        tested = held_out(labels, TEST_SHARE, seed) & chosen
        source, test_labels, chosen = train, labels, chosen & ~tested
    else:
        split = f"the images of {test.name}"
        source, test_labels = test, class_ids(test.labels(), classes)
        tested = test_labels != UNLABELLED
        unlabelled += int((~tested).sum())
    if not tested.any():
        raise DataError("there is no labelled test image", "give more images a class, or --test SOURCE")
    train_indices, test_indices = (torch.where(mask)[0] for mask in (chosen, tested))
    ids = dict(zip((name for name in names if name is not None), labels[labels >= 0].tolist(), strict=True))
    return LabelledSets(
        Labelled(train, labels, train_indices),
        Labelled(source, test_labels, test_indices),
        classes,
        ids,
        split,
        unlabelled,
    )


def inputs(checkpoint: str, train: Source, test: Source | None, target: LabelSet | None) -> dict[str, str]:
    """What an evaluation was given, as results name it."""
    optional: dict[str, Source | LabelSet | None] = {"test": test, "target": target}
    named = {name: given.name for name, given in optional.items() if given is not None}
    return {"checkpoint": checkpoint, "data": train.name, **named}


def described(source: Source) -> dict[str, str | int]:
    """A source as results name it."""
    return {"source": source.name, "images": len(source), "hash": content_hash(source)}


def subset(labels: Tensor, size: TrainSize, seed: int) -> Tensor:
    """Indices, ascending, of a stratified subset: of each class the first ones of a permutation by `seed`.

    So smaller subsets lie inside larger ones, and every initialisation is given the same.
    """
    taken = [members[: size.of(len(members))] for members in _shuffled_classes(labels, seed)]
    return torch.cat(taken).sort().values


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """`[N]`, bool: a `share` of each class, at least one image where it has two, never all."""
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for members in _shuffled_classes(labels, seed):
        mask[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
    return mask


def folds(labels: Tensor, count: int, seed: int) -> Tensor:
    """`[N]`, the fold in which each sample is held out: stratified, even in size; -1 (never) for a class's
    only one.
    """
    fold = torch.full((len(labels),), -1)
    dealt = 0
    for members in _shuffled_classes(labels, seed):
        if len(members) > 1:
            fold[members] = (dealt + torch.arange(len(members))) % count
            dealt += len(members)
    return fold


def _shuffled_classes(labels: Tensor, seed: int) -> list[Tensor]:
    """The samples of each class that has any, each in an order of its own that no other class changes."""
    return [
        torch.from_numpy(np.random.default_rng([seed, c]).permutation(torch.where(labels == c)[0].numpy()))
        for c in labels.unique().tolist()
    ]


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
        present = LabelSet("class names", tuple(Label(name, found.get(name, (name,))) for name in names))
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
