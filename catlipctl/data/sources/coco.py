"""COCO's annotations: `coco:ANNOTATIONS.json[:IMAGES]`, the images that an `instances_*.json` lists.

A category is a label of an image where any object of it is marked, as CatLIP's multi-label evaluation has it.
An image without an object has no label, and that is known.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catlipctl.data.sample import Need
from catlipctl.data.sources.image_files import ImageFileSource, root_of
from catlipctl.data.sources.storage import look_at
from catlipctl.errors import DataError, UsageError
from catlipctl.files import FileKind
from catlipctl.progress import SILENT, Progress

PREFIX = "coco:"
FORM = "coco:ANNOTATIONS.json[:IMAGES]"
KIND = FileKind(
    "COCO annotations",
    4 * 2**30,
    DataError,
    f"{FORM} wants a file with images, categories and annotations, as instances_val2017.json is",
)
_USED = {"images", "categories", "annotations", "id", "file_name", "name", "image_id", "category_id"}


def open_coco(
    spec: str,
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    progress: Progress = SILENT,  # noqa: ARG001
) -> ImageFileSource:
    """The images of an annotation file with the names of the categories in them, in the file's order.

    Without IMAGES they lie where COCO has them: for `annotations/instances_val2017.json` in `val2017`,
    `images/val2017` or `images` beside the folder of the annotations.

    Raises:
        DataError: there are no such annotations, or none of the images looked at exists.
        UsageError: a key is named, or captions are wanted: annotations of objects have none.
    """
    if image_key or label_key or caption_keys or need == "captions":
        raise UsageError(
            f"{spec}: annotations of objects name images and labels, and no captions",
            "it serves `catlipctl eval`; leave out --image-key, --label-key and --caption-key",
        )
    file, folder = _parted(spec)
    document = _read(file)
    try:
        names = {row["id"]: str(row["name"]) for row in document["categories"]}
        paths = {row["id"]: str(row["file_name"]) for row in document["images"]}
        found: dict[Any, set[str]] = defaultdict(set)
        for row in document["annotations"]:
            found[row["image_id"]].add(names[row["category_id"]])
        if len(set(names.values())) < len(names):
            raise KIND.refused(file, "two categories have one name")
        if strange := found.keys() - paths.keys():
            raise KIND.refused(file, f"{len(strange):,} annotations are of images that it does not list")
    except (KeyError, TypeError, AttributeError) as error:
        raise KIND.refused(file, f"a row lacks {error}") from error
    if not paths:
        raise KIND.refused(file, "it lists no images")
    order = tuple(names.values())
    place = {name: at for at, name in enumerate(order)}
    identity = json.dumps([list(look_at(str(file))), str(folder)])
    return ImageFileSource(
        spec,
        _root(spec, file, folder, list(paths.values())),
        list(paths.values()),
        labels=[tuple(sorted(found.get(image, ()), key=place.__getitem__)) for image in paths],
        class_names=order,
        faults={},
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:32],
    )


def _parted(spec: str) -> tuple[Path, Path | None]:
    text = spec.removeprefix(PREFIX)
    file, colon, images = text.rpartition(":")
    if not colon or Path(text).is_file():
        return Path(text).expanduser(), None
    return Path(file).expanduser(), Path(images).expanduser()


def _read(file: Path) -> dict[str, Any]:
    """The document without what is not used: of COCO's 450 MB most are outlines, dropped as read."""

    def used(row: dict[str, Any]) -> dict[str, Any]:
        return {key: row[key] for key in row.keys() & _USED}

    body = KIND.read_bytes(file)
    try:
        document = json.loads(body, object_hook=used)
    except (ValueError, RecursionError) as error:
        raise KIND.refused(file, f"it is no JSON: {error}") from error
    if not isinstance(document, dict) or not {"images", "categories", "annotations"} <= document.keys():
        raise KIND.refused(file, "it lacks images, categories or annotations")
    return document


def _root(spec: str, file: Path, folder: Path | None, paths: Sequence[str]) -> Path:
    """The first folder in which one of the images lies."""
    split = file.stem.removeprefix("instances_")
    beside = file.absolute().parent.parent
    usual = [beside / split, beside / "images" / split, beside / "images", file.absolute().parent]
    for root in [folder] if folder else usual:
        try:
            return root_of(spec, paths, root)
        except DataError:
            continue
    looked = ", ".join(map(str, [folder] if folder else usual))
    raise DataError(
        f"none of the images of {file} exists: first {paths[0]}, looked for in {looked}",
        f"say where they are: --data {PREFIX}{file}:IMAGES",
    )
