"""A table of images that are files: a row has a path and a caption (or label). CSV and TSV as open_clip's,
JSON Lines, and the `metadata.csv` or `.jsonl` that `datasets` puts beside images.

Opened, its rows are samples; its captions alone are a stream, which asks for no image.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TextIO

from catlipctl.data.sample import Labels, Need
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.columns import Columns
from catlipctl.data.sources.faults import Faults, labels_of, texts
from catlipctl.data.sources.image_files import ImageFileSource, root_of
from catlipctl.data.sources.shard import Broken, CaptionShard
from catlipctl.data.sources.storage import File, look_at
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

JSON_SUFFIXES = (".jsonl", ".ndjson")
_MAX_LINE = 16 * 2**20
_PROBED = 100


def open_listing(
    name: str,
    listing: Path,
    *,
    below: str = "",
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    progress: Progress = SILENT,
) -> ImageFileSource:
    """The pairs of a listing: CSV or TSV with a header line (tabs separate where it has one, else commas), or
    JSON Lines, an object a line.

    Paths are relative to the listing's folder, or to the current one if nothing lies there. below: only the
    rows whose path begins with it (`train/`) belong to the source.

    Raises:
        DataError: a column is missing, no row is usable, or none of the files looked at exists.
        ReadFailed: it cannot be read.
    """
    found = Faults()
    file = look_at(str(listing))
    used = []
    with _opened(file, found) as (header, rows):
        columns = Columns.of_header(
            name, header, image_key=image_key, caption_keys=caption_keys, label_key=label_key, need=need
        )
        for row in _rows(header, rows, columns, below, found):
            captions = tuple(caption for caption in row.captions if caption)
            if columns.need == "captions" and not captions:
                found.add(kinds.NO_CAPTION, 1, row.where)
            elif columns.need == "labels" and row.labels is None:
                found.add(kinds.NO_LABEL, 1, row.where)
            else:
                used.append(row._replace(captions=captions))
    if not used:
        raise DataError(
            f"{name} has no usable row: {found or 'it ends after its header'}", "look at the listing"
        )
    found.tell(progress)
    chosen = json.dumps([list(file), below, columns.image, columns.captions, columns.label, columns.need])
    paths = [row.path for row in used]
    return ImageFileSource(
        name,
        root_of(name, paths, listing.parent),
        paths,
        captions=[row.captions for row in used] if columns.captions else None,
        labels=[row.labels for row in used] if columns.label else None,
        faults=found.counts(),
        fingerprint=hashlib.sha256(chosen.encode()).hexdigest()[:32],
    )


@dataclass(frozen=True)
class ListingCaptions(CaptionShard):
    """A listing is one shard: where its rows begin is known only to who has read all before.

    below: only the rows whose path begins with it are of the shard.
    """

    below: str = ""
    kind: ClassVar[str] = "listing"

    @property
    def identity(self) -> str:
        """Changes with path, size, mtime, keys and part."""
        whole = super().identity
        return whole if not self.below else f"{whole} {self.below}"

    def check(self) -> None:
        """Look for the columns.

        Raises:
            DataError: there is none, or not the one asked for. Broken, ReadFailed: it cannot be read.
        """
        with _opened(self.file, Faults()) as (header, _):
            self._columns(header)

    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        with _opened(self.file, found) as (header, rows):
            for row in _rows(header, rows, self._columns(header), self.below, found):
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
    labels: Labels


def _rows(
    header: Sequence[str],
    rows: Iterator[tuple[str, Sequence[Any]]],
    columns: Columns,
    below: str,
    found: Faults,
) -> Iterator[_Row]:
    """The rows that name an image, where there is a column for it; the others are counted."""
    image_at = header.index(columns.image) if columns.image else None
    label_at = header.index(columns.label) if columns.label else None
    caption_at = [header.index(column) for column in columns.captions]

    for where, row in rows:
        path = _path(row[image_at]) if image_at is not None and image_at < len(row) else ""
        if image_at is not None and not path:
            found.add(kinds.NO_IMAGE, 1, where)
            continue
        if below and not os.path.normpath(path).startswith(below):
            continue
        said = [row[at] for at in caption_at if at < len(row)]
        captions = texts(said, partial(found.add, example=where))
        labels = labels_of(row[label_at]) if label_at is not None and label_at < len(row) else None
        yield _Row(where, path, captions, labels)


def _path(value: Any) -> str:
    """A path as the system spells it; '' where it can be none."""
    if not isinstance(value, str):
        return ""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # a lone surrogate that JSON spelled
        return ""
    return value.strip()


_Table = tuple[list[str], Iterator[tuple[str, Sequence[Any]]]]


@contextmanager
def _opened(file: File, found: Faults) -> Iterator[_Table]:
    """The header of a listing, and its rows as they are read: where each is, and its cells in that order.

    Bytes that are no UTF-8 stay as surrogates. Lines that are no JSON object are counted.

    Raises:
        Broken: it is no listing. ReadFailed: it cannot be read.
    """
    read = _json_table if file.name.lower().endswith(JSON_SUFFIXES) else _separated_table
    limit = csv.field_size_limit(_MAX_LINE)
    try:
        with TextIOWrapper(file.open(), "utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield read(file, stream, found)
    except csv.Error as error:
        raise Broken(
            f"{file.path} is not a CSV or TSV file: {error}", "quote fields that hold line breaks"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _separated_table(file: File, stream: TextIO, _found: Faults) -> _Table:
    first = stream.readline(_MAX_LINE)
    lines = chain([first], iter(lambda: stream.readline(_MAX_LINE), ""))
    rows = (row for row in csv.reader(lines, delimiter="\t" if "\t" in first else ",") if row)
    header = next(rows, None)
    if header is None:
        raise Broken(f"{file.path} is empty", "SOURCE wants a header line: filepath, title")
    named = ((f"{file.name}, row {number}", row) for number, row in enumerate(rows, start=2))
    return [_clean(name.strip()) for name in header], named


def _json_table(file: File, stream: TextIO, found: Faults) -> _Table:
    """The header is all fields that the first hundred objects have."""

    def objects() -> Iterator[tuple[str, dict[str, Any]]]:
        for number, line in enumerate(iter(lambda: stream.readline(_MAX_LINE), ""), start=1):
            try:
                row = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):
                row = line
            if isinstance(row, dict):
                yield f"{file.name}, row {number}", row
            elif row is not None:
                found.add(kinds.NO_ROW, 1, f"{file.name}, row {number}")

    rows = objects()
    probed = list(islice(rows, _PROBED))
    if not probed:
        raise Broken(
            f"{file.path} has no line that is a JSON object", 'write {"file_name": ..., "text": ...}'
        )
    header = list(dict.fromkeys(name for _, row in probed for name in row))
    cells = ((where, [row.get(name) for name in header]) for where, row in chain(probed, rows))
    return [_clean(name) for name in header], cells


def _clean(text: str) -> str:
    return text.encode(errors="surrogatepass").decode(errors="replace")
