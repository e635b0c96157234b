"""A CSV or TSV listing, a path and a caption (or label) a row, as open_clip and imagefolder take.

Opened, its rows are samples; its captions alone are a stream, which asks for no image.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import ClassVar, NamedTuple

from catlipctl.data.sample import Need
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.columns import Columns
from catlipctl.data.sources.faults import Faults, texts
from catlipctl.data.sources.image_files import ImageFileSource
from catlipctl.data.sources.shard import Broken, CaptionShard
from catlipctl.data.sources.storage import File, look_at
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
        ReadFailed: it cannot be read.
    """
    found = Faults()
    file = look_at(str(listing))
    lines = _lines(file)
    header = next(lines)
    columns = Columns.of_header(
        name, header, image_key=image_key, caption_keys=caption_keys, label_key=label_key, need=need
    )
    used = []
    for row in _rows(file, header, lines, columns, found):
        captions = tuple(caption for caption in row.captions if caption)
        if columns.need == "captions" and not captions:
            found.add(kinds.NO_CAPTION, 1, row.where)
        elif columns.need == "labels" and not row.label:
            found.add(kinds.NO_LABEL, 1, row.where)
        else:
            used.append(row._replace(captions=captions))
    if not used:
        raise DataError(
            f"{name} has no usable row: {found or 'it ends after its header'}", "look at the listing"
        )
    found.tell(progress)
    chosen = json.dumps([list(file), columns.image, columns.captions, columns.label, columns.need])
    paths = [row.path for row in used]
    return ImageFileSource(
        name,
        _root(name, paths, listing.parent),
        paths,
        captions=[row.captions for row in used] if columns.captions else None,
        labels=[row.label for row in used] if columns.label else None,
        faults=found.counts(),
        fingerprint=hashlib.sha256(chosen.encode()).hexdigest()[:32],
    )


@dataclass(frozen=True)
class ListingCaptions(CaptionShard):
    """A listing is one shard: where its rows begin is known only to who has read all before."""

    kind: ClassVar[str] = "listing"

    def check(self) -> None:
        """Look for the columns.

        Raises:
            DataError: there is none, or not the one asked for. Broken, ReadFailed: it cannot be read.
        """
        self._columns(next(_lines(self.file)))

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        lines = _lines(self.file)
        header = next(lines)
        for row in _rows(self.file, header, lines, self._columns(header), found):
            if row.captions:
                yield row.captions
            else:
                found.add(kinds.NO_CAPTION, 1, row.where)

    def _columns(self, header: Sequence[str]) -> Columns:
        keys = self.caption_keys
        return Columns.of_header(
            self.name, header, image_key=self.image_key, caption_keys=keys, need_image=False
        )


class _Row(NamedTuple):
    """A row with an image; captions: '' where one is empty."""

    where: str
    path: str
    captions: tuple[str, ...]
    label: str | None


def _rows(
    file: File, header: Sequence[str], lines: Iterator[list[str]], columns: Columns, found: Faults
) -> Iterator[_Row]:
    """The rows that name an image, where there is a column for it; the others are counted."""
    image_at = header.index(columns.image) if columns.image else None
    label_at = header.index(columns.label) if columns.label else None
    caption_at = [header.index(column) for column in columns.captions]

    def cell(row: list[str], at: int | None) -> str:
        return row[at].strip() if at is not None and at < len(row) else ""

    for number, row in enumerate(lines, start=2):
        where = f"{file.name}, row {number}"
        path = cell(row, image_at)
        if image_at is not None and not path:
            found.add(kinds.NO_IMAGE, 1, where)
            continue
        said = [row[at] for at in caption_at if at < len(row)]
        captions = texts(said, partial(found.add, example=where))
        yield _Row(where, path, captions, _clean(cell(row, label_at)) or None)


def _lines(file: File) -> Iterator[list[str]]:
    """The rows of a listing as they are read, its header first; bytes that are no UTF-8 stay as surrogates.

    Raises:
        Broken: it is no listing. ReadFailed: it cannot be read.
    """
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        with TextIOWrapper(file.open(), "utf-8-sig", errors="surrogateescape", newline="") as stream:
            first = stream.readline(_MAX_FIELD)
            lines = chain([first], iter(lambda: stream.readline(_MAX_FIELD), ""))
            found = (row for row in csv.reader(lines, delimiter="\t" if "\t" in first else ",") if row)
            header = next(found, None)
            if header is None:
                raise Broken(f"{file.path} is empty", "SOURCE wants a header line: filepath, title")
            yield [_clean(name.strip()) for name in header]
            yield from found
    except csv.Error as error:
        raise Broken(
            f"{file.path} is no CSV or TSV: {error}", "quote fields that hold line breaks"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _clean(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _root(name: str, paths: Sequence[str], folder: Path) -> Path:
    """From where some of the paths exist: the listing's folder, else the current one."""
    sample = paths[:: max(1, len(paths) // _PROBED)][:_PROBED]
    for root in (folder, Path.cwd()):
        if any((root / path).is_file() for path in sample):
            return root
    raise DataError(
        f"none of {len(sample)} images looked at in {name} exists: first {sample[0]}",
        f"write absolute paths, or paths relative to {folder}",
    )
