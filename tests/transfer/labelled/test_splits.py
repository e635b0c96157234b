"""Which images train and which test, and that a class is the target's whatever its folder is called."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import top_k_accuracy_score

from catlipctl.data import open_source
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.progress import Silent
from catlipctl.transfer.labelled import TEST_SHARE, labelled_sets, open_splits
from catlipctl.transfer.metrics import Answers, restricted

# Neither the labels nor the wnids are in the alphabet's order.
ZOO = LabelSet(
    "zoo",
    (
        Label("zebra", ("n02391049",)),
        Label("dog", ("n02084071",)),
        Label("crane bird", ("n02012849",)),
        Label("cat", ("n02121620",)),
    ),
)
COUNTS = {"zebra": 3, "dog": 5, "crane bird": 10, "cat": 2}


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def pictures(folder: Path, counts: dict[str, int], spelled: str = "label") -> Path:
    for label in ZOO.labels:
        name = {"label": label.name, "wnid": label.synsets[0], "file system": label.name.replace(" ", "_")}
        for number in range(counts.get(label.name, 0)):
            path = folder / name[spelled] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    return folder


@pytest.mark.parametrize("spelled", ["label", "wnid", "file system"])
@pytest.mark.parametrize("tested", ["label", "wnid"])
def test_the_order_is_the_targets_whatever_folders_are_called(
    spelled: str, tested: str, tmp_path: Path
) -> None:
    train = open_source(str(pictures(tmp_path / "a", COUNTS, spelled)), need="labels")
    test = open_source(str(pictures(tmp_path / "b", COUNTS, tested)), need="labels")
    sets = labelled_sets(train, test, ZOO, 0)
    assert [label.name for label in sets.classes.labels] == list(COUNTS)
    for split in (sets.train, sets.test):
        assert torch.bincount(split.labels[split.indices]).tolist() == list(COUNTS.values())
        for index in range(len(split.source)):
            folder = split.source[index].key.split("/")[0]
            assert ZOO.find(folder) == split.labels[index]
    assert sets.test.scored is None
    assert sets.split == f"the images of {test.name}"


def test_a_fifth_of_each_class_is_held_out_by_seed_and_said(tmp_path: Path) -> None:
    source = open_source(str(pictures(tmp_path, COUNTS)), need="labels")
    sets = labelled_sets(source, None, ZOO, 3)
    held_out = torch.bincount(sets.test.labels[sets.test.indices], minlength=4).tolist()
    assert held_out == [max(1, round(TEST_SHARE * count)) for count in COUNTS.values()]
    together = torch.cat([sets.train.indices, sets.test.indices]).sort().values
    assert together.tolist() == list(range(20))
    assert sets.split == "20% of each class held out for the test, seed 3"
    assert torch.equal(sets.test.indices, labelled_sets(source, None, ZOO, 3).test.indices)
    assert not torch.equal(sets.test.indices, labelled_sets(source, None, ZOO, 4).test.indices)


def test_test_folders_beside_train_are_found_and_one_left_alone_is_told(tmp_path: Path) -> None:
    for name in ("train", "val"):
        pictures(tmp_path / name, COUNTS)
    progress = Notes()
    for spec in (str(tmp_path), str(tmp_path / "train")):
        train, test = open_splits(spec, progress=progress)
        assert test is not None
        assert (Path(train.name).name, Path(test.name).name) == ("train", "val")
    assert progress.lines == []
    pictures(tmp_path / "test", {"zebra": 1, "cat": 1})
    _, test = open_splits(str(tmp_path), progress=progress)
    assert test is not None
    assert Path(test.name).name == "test"
    assert len(progress.lines) == 1
    assert f"{tmp_path / 'val'} is left alone" in progress.lines[0]
    _, test = open_splits(str(tmp_path), str(tmp_path / "val"))
    assert test is not None
    assert Path(test.name).name == "val"


def test_a_test_set_of_some_classes_is_scored_among_them_and_says_so(tmp_path: Path) -> None:
    train = open_source(str(pictures(tmp_path / "a", COUNTS)), need="labels")
    test = open_source(str(pictures(tmp_path / "b", {"zebra": 2, "cat": 2}, "wnid")), need="labels")
    sets = labelled_sets(train, test, ZOO, 0)
    assert sets.test.scored is not None
    assert sets.test.scored.tolist() == [0, 3]
    assert sets.split.endswith(", scored among the 2 of 4 classes that they have")
    # Asked for all classes they would be dogs and cranes.
    logits = torch.tensor([[0.0, 9, 0, 1], [1, 0, 9, 0], [1, 9, 0, 0], [2, 0, 9, 1]])
    labels = sets.test.labels[sets.test.indices]
    assert labels.tolist() == [3, 3, 0, 0]  # as the folders lie
    answered = Answers(restricted(logits, sets.test.scored), labels, list("abcd"))
    assert answered.figures(0)["acc1"] == 3 / 4
    assert [row.split(",")[2] for row in answered.table(list(COUNTS)).splitlines()[1:]] == [
        "cat",
        "zebra",
        "zebra",
        "zebra",
    ]


@given(st.integers(0, 99), st.integers(3, 9))
def test_restricted_answers_are_those_of_a_smaller_classifier(seed: int, classes: int) -> None:
    draw = np.random.default_rng(seed)
    part = np.sort(draw.choice(classes, size=3, replace=False))
    logits, place = draw.normal(size=(40, classes)), np.concatenate([np.arange(3), draw.integers(0, 3, 37)])
    answered = Answers(restricted(torch.tensor(logits), torch.tensor(part)), torch.tensor(part[place]), [])
    theirs = top_k_accuracy_score(place, logits[:, part], k=1)
    assert answered.figures(0)["acc1"] == pytest.approx(theirs)
