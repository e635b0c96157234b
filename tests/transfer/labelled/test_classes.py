"""From the labels that data spells to classes in order, and back to the classes of each image."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MultiLabelBinarizer

from catlipctl.data.sample import Labels
from catlipctl.errors import DataError, UsageError
from catlipctl.labels import targets
from catlipctl.transfer.labelled import (
    TrainSize,
    class_matrix,
    folds,
    held_out,
    labelled_sets,
    named_classes,
    rows_by_number,
    strata,
    subset,
)


class Names:
    """A source of nothing but labels."""

    name = "names"

    def __init__(self, labels: Sequence[Labels], class_names: tuple[str, ...] = ()) -> None:
        self._labels, self.class_names = list(labels), class_names

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> list[Labels]:
        return self._labels


def test_numbers_are_rows_of_the_target_where_it_is_said_from_which_on() -> None:
    ade20k = targets.load("ade20k")
    assert rows_by_number(["1", "150"], ade20k, 1) == {"1": "wall", "150": "flag"}
    assert rows_by_number(["0", "149", "sky"], ade20k, 0) == {"0": "wall", "149": "flag", "sky": "sky"}
    for numbers, base in ((["1", "150"], 0), (["0", "7"], 1)):
        with pytest.raises(DataError, match=f"rows are {base} to {149 + base}"):
            rows_by_number(numbers, ade20k, base)
    with pytest.raises(UsageError) as usage:
        rows_by_number(["1"], None, 1)
    assert "--target" in usage.value.hint
    with pytest.raises(DataError) as error:
        named_classes(["1", "17", "150"], ade20k)
    assert "1 to 150, and the set has 150 rows" in error.value.hint
    assert "--label-base 1" in error.value.hint


def test_the_order_of_classes_without_a_target() -> None:
    def order(names: list[str], given: tuple[str, ...] = ()) -> list[str]:
        return [label.name for label in named_classes(names, None, given).labels]

    assert order(["10", "9", "1"]) == ["1", "9", "10"]
    assert order(["cat", "dog", "bus"], ("dog", "bus", "cat", "cow")) == ["dog", "bus", "cat"]
    assert order(["cat", "dog", "bus"], ("dog", "bus")) == ["bus", "cat", "dog"]


LABELS = st.lists(
    st.lists(st.sampled_from("abcd"), max_size=4, unique=True).map(tuple), min_size=1, max_size=60
)


@given(LABELS)
def test_a_matrix_of_labels_is_scikit_learns(labels: list[tuple[str, ...]]) -> None:
    theirs = MultiLabelBinarizer(classes=list("abcd")).fit_transform(labels)
    ours = class_matrix(labels, {name: i for i, name in enumerate("abcd")}, 4)
    assert ours.int().tolist() == theirs.tolist()


@given(LABELS, st.integers(0, 9))
def test_parts_of_images_with_several_labels(labels: list[tuple[str, ...]], seed: int) -> None:
    """Each image counts for one class: that of its own which fewest images have."""
    matrix = class_matrix(labels, {name: i for i, name in enumerate("abcd")}, 4)
    counted = strata(matrix).tolist()
    images = {name: sum(name in names for names in labels) for name in "abcd"}
    for names, c in zip(labels, counted, strict=True):
        assert (c == 4) if not names else images["abcd"[c]] == min(images[name] for name in names)
    ids = torch.tensor(counted)
    assert subset(matrix, TrainSize.parse("50%"), seed).equal(subset(ids, TrainSize.parse("50%"), seed))
    assert held_out(matrix, 0.2, seed).equal(held_out(ids, 0.2, seed))
    assert folds(matrix, 4, seed).equal(folds(ids, 4, seed))


def test_sets_of_images_with_several_labels() -> None:
    train: list[Labels] = [("dog", "cat"), ("dog",), (), None, ("cat",)]
    sets = labelled_sets(Names(train), Names([("bus", "dog"), None, ()]), None, 0)
    assert sets.classes.multi_label
    # A class of test images alone is one too.
    assert [label.name for label in sets.classes.labels] == ["bus", "cat", "dog"]
    assert sets.train.labels[sets.train.indices].int().tolist() == [
        [0, 1, 1],
        [0, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
    ]
    assert sets.test.labels[sets.test.indices].int().tolist() == [[1, 0, 1], [0, 0, 0]]
    assert (sets.train.indices.tolist(), sets.unlabelled) == ([0, 1, 2, 4], 2)
    with pytest.raises(DataError, match="1 images have several labels, the first dog, cat"):
        labelled_sets(Names(train), None, None, 0, multi_label=False)


def test_one_label_an_image_is_of_exclusive_classes_unless_said() -> None:
    train = Names([("dog",), ("cat",)] * 5)
    sets = labelled_sets(train, None, None, 0)
    assert not sets.classes.multi_label
    assert sets.train.labels.tolist() == [1, 0] * 5
    assert labelled_sets(train, None, None, 0, multi_label=True).train.labels.shape == (10, 2)
    coco = targets.load("coco")
    assert labelled_sets(train, None, coco, 0).classes.multi_label
    exclusive = labelled_sets(train, None, coco, 0, multi_label=False)
    assert not exclusive.classes.multi_label
    assert [label.name for label in exclusive.classes.labels] == ["cat", "dog"]


def test_numbers_keep_the_names_of_their_rows() -> None:
    ade20k = targets.load("ade20k")
    train = Names([("1", "3"), ("3",), ("6", "1")] * 4)
    sets = labelled_sets(train, None, ade20k, 0, label_base=1)
    assert [label.name for label in sets.classes.labels] == [ade20k.labels[i].name for i in (0, 2, 5)]
    assert sets.ids == {"1": 0, "3": 1, "6": 2}
