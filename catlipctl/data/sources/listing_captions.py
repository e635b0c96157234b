"""The captions of a CSV or TSV listing, read as a stream; whether its images exist is not asked."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from catlipctl.data.sources import columns as table
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import Faults, tolerated
from catlipctl.data.sources.listing import rows
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.text import captions
from catlipctl.errors import DataError


@dataclass(frozen=True)
class ListingCaptions:
    """A listing is one shard: where its rows begin is known only to who has read all before."""

    file: File
    image_key: str | None
    caption_keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """Path or URL of the listing."""
        return self.file.path

    @property
    def size(self) -> int:
        """Bytes of the listing."""
        return self.file.size

    @property
    def identity(self) -> str:
        """Changes with the file and with what is read of it."""
        return json.dumps(["listing", *self.file, self.image_key, self.caption_keys])

    def check(self) -> None:
        """Look for the columns.

        Raises:
            DataError: there is none, or not the one asked for. OSError: it cannot be read.
        """
        try:
            header = next(rows(self.file))
        except DataError as error:
            raise OSError(str(error)) from error
        self._columns(header)

    def read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        """The captions of each row, in order.

        Raises:
            DataError: the columns are missing.
        """
        return tolerated(self.file.path, self._read(found), found)

    def _read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        read = rows(self.file)
        try:
            header = next(read)
        except (OSError, DataError) as error:
            found.add(kinds.UNREADABLE, 1, f"{self.name}: {getattr(error, 'strerror', None) or error}")
            return
        image_at, caption_at = self._columns(header)
        where = f"{self.file.name}, row"
        try:
            for number, row in enumerate(read, start=2):
                if image_at is not None and not (image_at < len(row) and row[image_at].strip()):
                    found.add(kinds.NO_IMAGE, 1, f"{where} {number}")
                    continue
                said = tuple(
                    text
                    for at in caption_at
                    if at < len(row)
                    for text in captions(row[at], found, where, number)
                )
                if said:
                    yield said
                else:
                    found.add(kinds.NO_CAPTION, 1, f"{where} {number}")
        except (OSError, DataError) as error:
            found.add(kinds.DAMAGED, 1, f"{self.name}: {getattr(error, 'strerror', None) or error}")

    def _columns(self, header: list[str]) -> tuple[int | None, list[int]]:
        shown = dict.fromkeys(header, "text")
        asked = [self.image_key] if self.image_key else []
        images = table.choose(self.name, shown, asked, table.IMAGE_NAMES, "--image-key")
        chosen = table.choose(self.name, shown, self.caption_keys, table.CAPTION_NAMES, "--caption-key")
        table.require(self.name, shown, chosen, "captions", "--caption-key")
        return header.index(images[0]) if images else None, [header.index(name) for name in chosen]
