"""From what a source keeps to captions and labels, bounded in size; and what was wrong with it, by kind.

What a sample is may be left out, mended and counted; it is told once a kind, and fatal only if asked.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from catlipctl.data.sample import Labels
from catlipctl.errors import DataError
from catlipctl.progress import Progress

MAX_IMAGE_BYTES = 256 * 2**20
MAX_CAPTION_BYTES = 2**20
LEVELS_OF_LISTS = 8

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
NO_ROW = "row without JSON object"
MISSING = "sample missing from its shard"
BEYOND = "sample beyond its shard's count"
EMPTY_SHARD = "shard without samples"

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
    NO_ROW: "left out",
    MISSING: "fewer than counted: others of its shard take their places",
    BEYOND: "left out; catlipctl data index counts",
    EMPTY_SHARD: "those of the next shard take their places",
    OTHER_SCRIPT: "letters, but none of them Latin",
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


def _ignore(_: str) -> None:
    pass


def texts(
    value: Any, fault: Callable[[str], object] = _ignore, levels: int = LEVELS_OF_LISTS
) -> tuple[str, ...]:
    """A stored value as texts: at most 1 MiB of each, numbers spelled, lists taken one by one.

    levels: of lists in lists; what is nested deeper is left out.

    fault: told the kind of what is wrong with one. Bytes that are no UTF-8 become U+FFFD; so do surrogates in
    a str, which stand for such bytes (surrogateescape), or are lone ones that JSON spelled.
    """
    if isinstance(value, str):
        if value.isascii() and len(value) <= MAX_CAPTION_BYTES:
            return (value.strip(),)
        try:
            value = value.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            value = value.encode(errors="surrogatepass")
    if isinstance(value, bytes):
        if len(value) > MAX_CAPTION_BYTES:
            fault(LONG_CAPTION)
        else:
            try:
                return (value.decode().strip(),)
            except UnicodeDecodeError:
                fault(NOT_UTF8)
        return (_cut(value).strip(),)
    if isinstance(value, list | tuple):
        inner = value if levels else ()
        return tuple(text for item in inner for text in texts(item, fault, levels - 1))
    return () if value is None or isinstance(value, dict) else (str(value),)


def labels_of(value: Any) -> Labels:
    """A stored value as the classes of a sample, each once: a text or number as one, a list as several.

    An empty list says that there are none; None, an empty text or an object says nothing.
    """
    found = tuple(dict.fromkeys(filter(None, texts(value))))
    return found if found or isinstance(value, list | tuple) else None


def _cut(body: bytes) -> str:
    """At most 1 MiB as text; a character that the cut divides is left out."""
    text = body[:MAX_CAPTION_BYTES].decode(errors="replace")
    return text.removesuffix("\ufffd") if len(body) > MAX_CAPTION_BYTES else text


def _counted(count: int, kind: str) -> str:
    noun, _, rest = kind.partition(" ")
    if kind in (*SHARD_KINDS, EMPTY_CAPTION):
        return f"{count:,} {kind}{'s' * (count > 1)}"
    return f"{count:,} {noun}{'s' * (count > 1)} {rest}"
