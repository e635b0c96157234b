"""Annotations as COCO writes them, read into labels of images."""

import json
from pathlib import Path

import pytest

from catlipctl.data import open_source
from catlipctl.data.sample import class_names
from catlipctl.errors import DataError, UsageError

# COCO's own order, in which ids have gaps and no alphabet shows.
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}, {"id": 7, "name": "bus"}]
OBJECTS = [(40, 7), (40, 1), (40, 7), (12, 13)]


def annotations(**changes: object) -> dict[str, object]:
    outline = {"segmentation": [[1.5, 2.5, 3.5]], "area": 9.0, "bbox": [0, 0, 3, 3]}
    rows = [
        {"id": n, "image_id": image, "category_id": category, "iscrowd": n % 2, **outline}
        for n, (image, category) in enumerate(OBJECTS)
    ]
    images = [{"id": i, "file_name": f"{i:012d}.png", "height": 3, "width": 4} for i in (40, 12, 33)]
    return {"info": {}, "images": images, "annotations": rows, "categories": CATEGORIES, **changes}


@pytest.fixture
def write(tmp_path, png):
    def made(document: object, images: str = "val2017") -> Path:
        for folder in (tmp_path / "annotations", tmp_path / images):
            folder.mkdir(parents=True, exist_ok=True)
        for i in (40, 12, 33):
            (tmp_path / images / f"{i:012d}.png").write_bytes(png(i))
        file = tmp_path / "annotations" / "instances_val2017.json"
        file.write_text(json.dumps(document))
        return file

    return made


@pytest.mark.parametrize("images", ["val2017", "images/val2017", "images", "annotations"])
def test_any_object_of_a_category_is_a_label(write, png, images):
    source = open_source(f"coco:{write(annotations(), images)}", need="labels")
    # An image in which nothing is marked is known to have no label.
    assert source.labels() == [source[i].labels for i in range(3)]
    assert source.labels() == [("person", "bus"), ("stop sign",), ()]
    assert [source[i].image for i in range(3)] == [png(40), png(12), png(33)]
    assert class_names(source) == ("person", "stop sign", "bus")
    twice = open_source([source.name, f"{source.name}=0.5"], need="labels")
    assert (len(twice), class_names(twice)) == (5, class_names(source))


def test_images_that_lie_elsewhere(write, tmp_path):
    file = write(annotations(), "photos")
    with pytest.raises(DataError, match=r"none of the images .* looked for in .*val2017") as error:
        open_source(f"coco:{file}", need="labels")
    assert f"--data coco:{file}:IMAGES" in error.value.hint
    assert len(open_source(f"coco:{file}:{tmp_path / 'photos'}", need="labels")) == 3


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "lacks images, categories or annotations"),
        ({"images": []}, "lacks images, categories or annotations"),
        (annotations(annotations=[{"id": 1, "image_id": 40, "category_id": 99}]), "99"),
        (annotations(annotations=[{"image_id": 5, "category_id": 1}]), "1 annotations are of images"),
        (annotations(images=[]), "images"),
        (annotations(categories=[{"id": 1}]), "'name'"),
        (annotations(categories=[*CATEGORIES, {"id": 2, "name": "bus"}]), "two categories have one name"),
        (annotations(images=7), "row"),
    ],
)
def test_what_is_no_annotation_file_is_told(write, document, said):
    with pytest.raises(DataError, match=said):
        open_source(f"coco:{write(document)}", need="labels")


def test_no_captions_and_no_keys(write, tmp_path):
    file = write(annotations())
    with pytest.raises(UsageError, match="no captions"):
        open_source(f"coco:{file}")
    with pytest.raises(UsageError) as error:
        open_source(f"coco:{file}", need="labels", label_key="cls")
    assert "leave out --image-key, --label-key" in error.value.hint
    with pytest.raises(DataError, match="cannot read"):
        open_source(f"coco:{tmp_path / 'none.json'}", need="labels")
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(DataError, match="no JSON"):
        open_source(f"coco:{tmp_path / 'cut.json'}", need="labels")
