"""A CSV or TSV listing, a path and a caption (or label) a row, as open_clip and imagefolder take."""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path

from catlipctl.data.sources import columns as table
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import MAX_CAPTION_BYTES, Faults
from catlipctl.data.sources.image_files import ImageFileSource
from catlipctl.data.sources.storage import File, look_at, relative_to_known_folder
from catlipctl.data.sources.tar import Need
from catlipctl.data.sources.text import cut
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

_MAX_FIELD = 16 * 2**20
_PROBED = 100


def open_listing(
    name: str,
    listing: Path,
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    progress: Progress = SILENT,
) -> ImageFileSource:
    """The pairs of a listing with a header line; tabs separate where the header has one, else commas.

    Paths are relative to the listing's folder, or to the current one if nothing lies there.

    Raises:
        DataError: a column is missing, no row is usable, or none of the files looked at exists.
    """
    found = Faults()
    file = look_at(str(listing))
    header, *found_rows = rows(file)
    shown = dict.fromkeys(header, "text")
    images = table.choose(name, shown, [image_key] if image_key else [], table.IMAGE_NAMES, "--image-key")
    captions = table.choose(name, shown, caption_keys, table.CAPTION_NAMES, "--caption-key")
    labels = table.choose(name, shown, [label_key] if label_key else [], table.LABEL_NAMES, "--label-key")
    table.require(name, shown, images, "an image's path", "--image-key")
    if need == "any":
        need = "captions" if captions else "labels"
    if need == "captions":
        table.require(name, shown, captions, "captions", "--caption-key")
    if need == "labels":
        table.require(name, shown, labels, "labels", "--label-key")

    image_at, label_at = header.index(images[0]), header.index(labels[0]) if labels else None
    caption_at = [header.index(column) for column in captions]
    paths, texts, classes = [], [], []
    for number, row in enumerate(found_rows, start=2):
        path = row[image_at].strip() if image_at < len(row) else ""
        said = [_caption(row[at], number, found) for at in caption_at if at < len(row) and row[at].strip()]
        label = row[label_at].strip() if label_at is not None and label_at < len(row) else None
        if not path:
            found.add(kinds.NO_IMAGE, 1, f"row {number}")
        elif need == "captions" and not said:
            found.add(kinds.NO_CAPTION, 1, f"row {number}")
        elif need == "labels" and not label:
            found.add(kinds.NO_LABEL, 1, f"row {number}")
        else:
            paths.append(path)
            texts.append(said)
            classes.append(label or None)
    if not paths:
        raise DataError(
            f"{name} has no usable row: {found or 'it ends after its header'}", "look at the listing"
        )

    found.tell(progress)
    chosen = json.dumps([list(file), images, captions, labels, need])
    return ImageFileSource(
        name,
        _root(name, paths, listing.parent),
        paths,
        captions=texts if captions else None,
        labels=classes if labels else None,
        faults=found.counts(),
        fingerprint=hashlib.sha256(chosen.encode()).hexdigest()[:32],
    )


def rows(file: File) -> Iterator[list[str]]:
    """The rows of a listing as they are read, its header first; bytes that are no UTF-8 stay as surrogates.

    Raises:
        DataError: it is no listing, or (as any read) OSError.
    """
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        with TextIOWrapper(file.open(), "utf-8-sig", errors="surrogateescape", newline="") as stream:
            first = stream.readline(_MAX_FIELD)
            lines = chain([first], iter(lambda: stream.readline(_MAX_FIELD), ""))
            found = (row for row in csv.reader(lines, delimiter="\t" if "\t" in first else ",") if row)
            header = next(found, None)
            if header is None:
                raise DataError(f"{file.path} is empty", "SOURCE wants a header line: filepath, title")
            yield [_clean(name.strip()) for name in header]
            yield from found
    except csv.Error as error:
        raise DataError(
            f"{file.path} is no CSV or TSV: {error}", "quote fields that hold line breaks"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _clean(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _caption(text: str, number: int, found: Faults) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        text = _clean(text)
        found.add(kinds.NOT_UTF8, 1, f"row {number}")
    if len(text) * 4 > MAX_CAPTION_BYTES and len(text.encode()) > MAX_CAPTION_BYTES:
        text = cut(text)
        found.add(kinds.LONG_CAPTION, 1, f"row {number}")
    return text.strip()


def _root(name: str, paths: Sequence[str], folder: Path) -> Path:
    sample = paths[:: max(1, len(paths) // _PROBED)][:_PROBED]
    root = relative_to_known_folder(sample, folder)
    if root is None:
        raise DataError(
            f"none of {len(sample)} images looked at in {name} exists: first {sample[0]}",
            f"write absolute paths, or paths relative to {folder}",
        )
    return root
