"""The built-in label sets against timm's numbering, the data sets' sizes, and WordNet itself."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from catlipctl.labels import targets, wordnet

SIZES = {
    "imagenet": 1000,
    "imagenet21k": 21843,
    "places365": 365,
    "coco": 80,
    "ade20k": 150,
    "cifar10": 10,
    "cifar100": 100,
    "sun397": 397,
    "emoji": 12,
}


@pytest.mark.parametrize("name", targets.BUILT_IN)
def test_sizes_unique_names_and_known_synsets(name: str) -> None:
    labels = targets.load(name).labels
    assert len(labels) == SIZES[name]
    assert len({label.name for label in labels}) == len(labels)
    graph = wordnet.nouns()
    assert all(key in graph for label in labels for key in label.synsets)
    assert all(label.synsets for label in labels)


@pytest.mark.parametrize(
    ("name", "file"), [("imagenet", "imagenet_synsets.txt"), ("imagenet21k", "imagenet21k_goog_synsets.txt")]
)
def test_imagenet_is_numbered_as_in_timm(name: str, file: str) -> None:
    # Found without importing timm, which brings torch.
    (package,) = find_spec("timm").submodule_search_locations  # type: ignore[union-attr, misc]
    wnids = (Path(package) / "data" / "_info" / file).read_text().split()
    assert [label.synsets for label in targets.load(name).labels] == [(wnid,) for wnid in wnids]


@pytest.mark.parametrize(
    ("name", "file", "prefix"),
    [
        ("coco", "coco80.txt", 0),
        ("places365", "places365.txt", 0),
        ("sun397", "sun397.txt", 3),
        ("ade20k", "ade20k150.txt", 0),
    ],
)
def test_names_in_the_order_of_the_data_set(name: str, file: str, prefix: int, shared_data: Path) -> None:
    lines = (shared_data / "labels" / file).read_text().splitlines()
    assert [label.name for label in targets.load(name).labels] == [line[prefix:].strip() for line in lines]


@pytest.mark.parametrize(
    ("name", "file", "other_senses"),
    [
        ("cifar10", "cifar10_wnids.txt", set()),
        (
            "cifar100",
            "cifar100_wnids.txt",
            {"aquarium_fish", "dolphin", "skunk", "trout", "television", "keyboard", "sweet_pepper"},
        ),
    ],
)
def test_cifar_wnids_but_for_those_of_another_sense(
    name: str, file: str, other_senses: set[str], shared_data: Path
) -> None:
    wnids = (shared_data / "labels" / file).read_text().split()
    labels = targets.load(name).labels
    differing = {label.name for label, wnid in zip(labels, wnids, strict=True) if label.synsets != (wnid,)}
    assert differing == other_senses


@pytest.mark.parametrize(
    ("target", "label", "below"),
    [
        ("cifar100", "dolphin", "mammal.n.01"),
        ("cifar100", "skunk", "mammal.n.01"),
        ("cifar100", "aquarium_fish", "fish.n.01"),
        ("cifar100", "trout", "fish.n.01"),
        ("cifar100", "table", "furniture.n.01"),
        ("cifar100", "ray", "fish.n.01"),
        ("cifar100", "palm_tree", "tree.n.01"),
        ("coco", "mouse", "electronic_device.n.01"),
        ("coco", "keyboard", "device.n.01"),
        ("coco", "kite", "plaything.n.01"),
        ("coco", "tie", "clothing.n.01"),
        ("coco", "baseball bat", "artifact.n.01"),
        ("coco", "hot dog", "food.n.01"),
        ("coco", "toaster", "appliance.n.02"),
        ("coco", "stop sign", "sign.n.02"),
        ("ade20k", "palm", "tree.n.01"),
        ("ade20k", "fan", "device.n.01"),
        ("ade20k", "monitor", "display.n.06"),
        ("ade20k", "van", "vehicle.n.01"),
        ("ade20k", "ottoman", "furniture.n.01"),
        ("places365", "yard", "location.n.01"),
        ("places365", "medina", "district.n.01"),
        ("places365", "mansion", "house.n.01"),
        ("places365", "church/indoor", "building.n.01"),
        ("places365", "bar", "room.n.01"),
        ("places365", "berth", "bed.n.01"),
        ("places365", "amphitheater", "stadium.n.01"),
        ("places365", "atrium/public", "court.n.10"),
        ("places365", "balcony/exterior", "structure.n.01"),
        ("places365", "bazaar/indoor", "marketplace.n.02"),
        ("places365", "wave", "movement.n.03"),
        ("sun397", "volcano", "mountain.n.01"),
        ("sun397", "booth/indoor", "closet.n.04"),
        ("sun397", "courtroom", "room.n.01"),
        ("ade20k", "toilet", "plumbing_fixture.n.01"),
        ("ade20k", "tank", "vessel.n.03"),
        ("ade20k", "glass", "container.n.01"),
        ("ade20k", "pot", "container.n.01"),
        ("ade20k", "plate", "tableware.n.01"),
        ("ade20k", "bar", "counter.n.01"),
        ("cifar10", "deer", "mammal.n.01"),
        ("cifar100", "cattle", "mammal.n.01"),
        ("cifar100", "plate", "tableware.n.01"),
        ("cifar100", "mouse", "rodent.n.01"),
        ("cifar100", "orange", "fruit.n.01"),
        ("cifar100", "sweet_pepper", "food.n.02"),
        ("cifar100", "tank", "vehicle.n.01"),
        ("cifar100", "seal", "mammal.n.01"),
        ("cifar100", "turtle", "reptile.n.01"),
        ("coco", "orange", "fruit.n.01"),
        ("coco", "remote", "device.n.01"),
        ("coco", "fire hydrant", "artifact.n.01"),
        ("coco", "cell phone", "telephone.n.01"),
        ("coco", "toilet", "plumbing_fixture.n.01"),
    ],
)
def test_the_sense_is_the_one_that_is_pictured(target: str, label: str, below: str) -> None:
    graph = wordnet.nouns()
    labels = targets.load(target)
    (key,) = labels.labels[labels.find(label) or 0].synsets
    root = graph.key_of(below)
    assert root is not None
    assert key == root or key in graph.descendants(root), graph.name(key)


def test_coco_keeps_fire_hydrant_in_one_piece() -> None:
    # CoreNet's list of names splits it and joins "microwave oven": its names 11 to 69 are shifted by one.
    names = [label.name for label in targets.load("coco").labels]
    assert names[:13:2] == ["person", "car", "airplane", "train", "boat", "fire hydrant", "parking meter"]
    assert names[66:71] == ["keyboard", "cell phone", "microwave", "oven", "toaster"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_numbered_by_the_alphabet(name: str) -> None:
    names = [label.name for label in targets.load(name).labels]
    assert names == sorted(names)


def test_a_label_of_several_words_has_a_synset_a_word() -> None:
    graph = wordnet.nouns()
    places = targets.load("places365")
    row = places.find("restaurant_kitchen")
    assert row is not None
    assert [graph.name(key) for key in places.labels[row].synsets] == ["restaurant.n.01", "kitchen.n.01"]


def test_emoji_classes_are_those_of_the_demo_data() -> None:
    from catlipctl.data.emoji import CLASSES

    assert {label.name for label in targets.load("emoji").labels} == set(CLASSES)


def test_cranes_are_told_apart() -> None:
    imagenet = targets.load("imagenet")
    assert [label.name for label in imagenet.labels if label.name.startswith("crane")] == [
        "crane (wading bird)",
        "crane (lifting device)",
    ]
    assert imagenet.find("n02012849") == 134
    assert imagenet.find("n03126707") == 517
    assert imagenet.find("Great White-Shark") == 2
    assert imagenet.find("crane") is None
