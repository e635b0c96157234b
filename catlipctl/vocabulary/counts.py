"""How often each label key was met in some captions: what shards are counted into and added up from.

The counts of each shard are kept in the cache folder: a stopped build goes on, and new shards are added.
"""

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeGuard
from zlib import error as ZlibError

from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import Faults
from catlipctl.errors import CatlipctlError
from catlipctl.files import replacing
from catlipctl.labels import Extractor

FORMAT = 1
MAX_BYTES = 2**30
_KEYS_AT_ONCE = 2**16
_CAPTIONS_AT_ONCE = 1000
_ASCII_LETTER = re.compile("[A-Za-z]")


@dataclass
class Counts:
    """Counts of keys; they add up in any order.

    occurrences: how often each key was met. repeats: how many of these were not the first in their caption,
    for keys with any: occurrences - repeats is in how many captions a key is.
    captions: those with any text; captions_without_label: how many of them gave no key.
    faults: what was left out or mended, and captions in another script (which are counted).
    """

    occurrences: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    captions: int = 0
    captions_without_label: int = 0
    faults: Faults = field(default_factory=Faults)

    def by_caption(self) -> dict[str, int]:
        """In how many captions each key is: its document frequency."""
        return {key: number - self.repeats[key] for key, number in self.occurrences.items()}

    def add(self, other: "Counts") -> None:
        """Add another's."""
        self.occurrences.update(other.occurrences)
        self.repeats.update(other.repeats)
        self.captions += other.captions
        self.captions_without_label += other.captions_without_label
        self.faults.merge(other.faults)

    def __add__(self, other: "Counts") -> "Counts":
        total = Counts()
        total.add(self)
        total.add(other)
        return total

    def pack(self) -> bytes:
        """The counts as gzipped JSON, the same bytes for equal counts."""
        document = {
            "format": FORMAT,
            "captions": self.captions,
            "captions_without_label": self.captions_without_label,
            "faults": dict(sorted(self.faults.counts().items())),
            "examples": dict(sorted(self.faults.examples().items())),
            "occurrences": dict(sorted(self.occurrences.items())),
            "repeats": dict(sorted(self.repeats.items())),
        }
        return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), 1, mtime=0)

    @classmethod
    def unpack(cls, packed: bytes) -> "Counts":
        """What `pack` packed.

        Raises:
            ValueError: these are no counts, or damaged.
        """
        try:
            document = json.loads(_decompressed(packed))
        except (OSError, EOFError, RecursionError, ZlibError) as error:
            raise ValueError(f"damaged: {error}") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("another format")
        found, examples = Faults(), document.get("examples")
        if not isinstance(examples, dict):
            raise ValueError("examples are no text by kind")
        for kind, number in _counter(document, "faults").items():
            found.add(kind, number, str(examples.get(kind, "")))
        captions, without = document.get("captions"), document.get("captions_without_label")
        if not (_is_count(captions) and _is_count(without)):
            raise ValueError("captions are no number")
        return cls(_counter(document, "occurrences"), _counter(document, "repeats"), captions, without, found)


def count(
    samples: Iterable[Iterable[str]],
    extract: Extractor,
    found: Faults | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> Counts:
    """Count the keys of all captions of some samples.

    found: the faults of whoever reads the samples; complete, and part of the counts, at the end.
    tick: called now and then with how many captions more were counted.
    """
    counts = Counts(faults=found if found is not None else Faults())
    pending: list[str] = []
    captions = without = ticked = 0
    for texts in samples:
        for text in texts:
            fault = _fault(text)
            if fault:
                counts.faults.add(fault)
                if fault == kinds.EMPTY_CAPTION:
                    continue
            keys = extract(text)
            captions += 1
            if not keys:
                without += 1
            pending += keys
            if len(set(keys)) < len(keys):
                counts.repeats.update(Counter(keys) - Counter(set(keys)))
        if captions - ticked >= _CAPTIONS_AT_ONCE:
            tick(captions - ticked)
            ticked = captions
            if len(pending) >= _KEYS_AT_ONCE:
                counts.occurrences.update(pending)
                pending.clear()
    tick(captions - ticked)
    counts.occurrences.update(pending)
    counts.captions, counts.captions_without_label = captions, without
    return counts


def _fault(text: str) -> str | None:
    """The kind of fault of a caption that is empty, or has letters but none of them Latin."""
    if _ASCII_LETTER.search(text):
        return None
    if not text.strip():
        return kinds.EMPTY_CAPTION
    return kinds.OTHER_SCRIPT if not text.isascii() and _in_another_script(text) else None


def _in_another_script(text: str) -> bool:
    import regex

    return regex.search(r"\p{Latin}", text) is None and regex.search(r"\p{L}", text) is not None


def _decompressed(packed: bytes) -> bytes:
    """Raises ValueError where it would be over 1 GiB."""
    with gzip.GzipFile(fileobj=BytesIO(packed)) as stream:
        body = stream.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError("larger than any counts")
    return body


def _counter(document: dict[str, Any], name: str) -> Counter[str]:
    value = document.get(name)
    if not isinstance(value, dict) or not all(map(_is_count, value.values())):
        raise ValueError(f"{name} is not a number by key")
    return Counter(value)


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value >= 0


class Countable(Protocol):
    """What was counted: a shard, or a whole source.

    identity: changes with its files (path, size, mtime) and with where its captions are.
    """

    @property
    def identity(self) -> Any: ...


class Sidecars:
    """Files of packed counts, named by what was counted and by the extractor."""

    def __init__(self, cache: Path, extractor: Extractor) -> None:
        self.folder = cache / "counts" / f"{extractor.name}-{extractor.version}"
        self._there = {path.name for path in self.folder.glob("*")} if self.folder.is_dir() else set()
        self.failure: Exception | None = None
        """Why counts could not be kept."""

    def path(self, counted: Countable) -> Path:
        """Where its counts are kept."""
        identity = json.dumps([FORMAT, counted.identity])
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json.gz"

    def __contains__(self, counted: Countable) -> bool:
        return self.path(counted).name in self._there

    def load(self, counted: Countable) -> Counts | None:
        """Its counts; None where there are none or they are damaged."""
        try:
            return Counts.unpack(self.path(counted).read_bytes())
        except (OSError, ValueError):
            return None

    def keep(self, counted: Countable, packed: bytes, counts: Counts) -> None:
        """Keep its counts, unless the next reading may find more: a network or a disk may recover.

        Not synced: a power cut costs at most a recount, waiting for the disk costs more than counting.
        """
        if counts.faults[kinds.UNREADABLE] or counts.faults[kinds.DAMAGED] or self.failure:
            return
        try:
            with replacing(self.path(counted), sync=False) as temporary:
                temporary.write_bytes(packed)
        except (OSError, CatlipctlError) as error:
            self.failure = error
