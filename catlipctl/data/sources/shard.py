"""A part of a source whose captions are read at once, in storage order: what a vocabulary is counted from."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from catlipctl.data.sources.faults import DAMAGED, UNREADABLE, Faults
from catlipctl.data.sources.storage import File, ReadFailed
from catlipctl.errors import DataError


class Broken(DataError):
    """What a file holds is not, or not any more, what its name says."""


@dataclass(frozen=True)
class CaptionShard(ABC):
    """Captions of a file: all of it, unless a format knows better. Frozen and picklable.

    image_key, caption_keys: extensions, `json:FIELD`s or columns that were asked for. kind: of which format.
    """

    kind: ClassVar[str]
    file: File
    image_key: str | None
    caption_keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """For people: path or URL."""
        return self.file.path

    @property
    def size(self) -> int:
        """About its bytes."""
        return self.file.size

    @property
    def identity(self) -> str:
        """Changes with path, size, mtime, keys and part."""
        return json.dumps([self.kind, *self.file, self.image_key, self.caption_keys])

    def read(self, found: Faults) -> Iterator[tuple[str, ...]]:
        """The captions of each sample in order, '' where one is empty; a few are held at a time.

        What is left out or mended is added to `found`, which is complete when the reading is over. A shard
        that cannot be read, or from some sample on, is no error, but a fault.

        Raises:
            DataError: it has no caption column.
        """
        kind = UNREADABLE
        try:
            for sample in self._samples(found):
                kind = DAMAGED
                yield sample
        except ReadFailed as error:
            found.add(kind, 1, error.message)
        except Broken as error:
            found.add(kind, 1, f"{self.name}: {error.message}")

    @abstractmethod
    def _samples(self, found: Faults) -> Iterator[tuple[str, ...]]:
        """As `read`, but what cannot be read raises Broken or ReadFailed."""
