"""What was passed over while a source was opened: counted by kind, told once each, fatal only if asked."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from catlipctl.data.sources.patterns import is_url
from catlipctl.errors import CatlipctlError, DataError
from catlipctl.progress import Progress

T = TypeVar("T")

MAX_IMAGE_BYTES = 256 * 2**20
MAX_CAPTION_BYTES = 2**20

TRUNCATED = "truncated shard"
DAMAGED = "damaged shard"
UNREADABLE = "unreadable shard"
NO_CAPTION = "image without caption"
NO_LABEL = "image without label"
NO_IMAGE = "caption without image"
NOT_UTF8 = "caption not UTF-8"
LONG_CAPTION = "caption over 1 MiB"
LARGE_IMAGE = "image over 256 MiB"
EMPTY_CAPTION = "empty caption"
OTHER_SCRIPT = "caption in another script"

_CONSEQUENCE = {
    TRUNCATED: "the whole samples before the cut are used",
    DAMAGED: "the samples before the damage are used",
    UNREADABLE: "left out",
    NO_CAPTION: "left out",
    NO_LABEL: "left out",
    NO_IMAGE: "left out",
    NOT_UTF8: "the wrong bytes are replaced by U+FFFD",
    LONG_CAPTION: "cut there",
    LARGE_IMAGE: "left out",
    EMPTY_CAPTION: "left out",
    OTHER_SCRIPT: "letters, but none of them Latin, from which WordNet gives no label",
}
SHARD_KINDS = (TRUNCATED, DAMAGED, UNREADABLE)


class Faults:
    """Counts by kind, with an example of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, kind: str, count: int = 1, example: str = "") -> None:
        """Count `count` faults of a kind; the first example is kept for the message."""
        if count:
            self._counts[kind] += count
            if example:
                self._examples.setdefault(kind, example)

    def counts(self) -> Mapping[str, int]:
        """Counts by kind, the most frequent first."""
        return dict(self._counts.most_common())

    def examples(self) -> Mapping[str, str]:
        """The example of each kind that has one."""
        return dict(self._examples)

    def merge(self, other: "Faults") -> None:
        """Add another's. Of two examples the smaller text stays, whichever came first."""
        self._counts.update(other._counts)
        for kind, example in other._examples.items():
            self._examples[kind] = min(example, self._examples.get(kind, example))

    def __getitem__(self, kind: str) -> int:
        return self._counts[kind]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Faults) and (self._counts, self._examples) == (
            other._counts,
            other._examples,
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def damaged(self) -> bool:
        """Whether a shard was not whole."""
        return any(self._counts[kind] for kind in SHARD_KINDS)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        return ", ".join(_counted(count, kind) for kind, count in self.counts().items())

    def refuse_damaged_shards(self) -> None:
        """For `--strict`: a shard that is not whole is an error.

        Raises:
            DataError: there is one; the message names it.
        """
        for kind in SHARD_KINDS:
            if self._counts[kind]:
                raise DataError(
                    f"{_counted(self._counts[kind], kind)}, first {self._examples[kind]}",
                    "fetch it again, or leave out --strict to use what is whole",
                )

    def tell(self, progress: Progress) -> None:
        """One warning a kind."""
        for kind, count in self.counts().items():
            example = f" (first: {self._examples[kind]})" if kind in self._examples else ""
            progress.warn(f"{_counted(count, kind)}: {_CONSEQUENCE[kind]}{example}")


def tolerated(path: str, samples: Iterator[T], found: Faults) -> Iterator[T]:
    """The samples of one shard; where a server fails, the fault is counted and the shard ends there.

    Each of fsspec's file systems has exceptions of its own, which are no OSError.
    """
    try:
        yield from samples
    except CatlipctlError:
        raise
    except Exception as error:
        if not is_url(path):
            raise
        found.add(UNREADABLE, 1, f"{path}: {error}")


def _counted(count: int, kind: str) -> str:
    noun, _, rest = kind.partition(" ")
    if kind in (*SHARD_KINDS, EMPTY_CAPTION):
        return f"{count:,} {kind}{'s' * (count > 1)}"
    return f"{count:,} {noun}{'s' * (count > 1)} {rest}"
