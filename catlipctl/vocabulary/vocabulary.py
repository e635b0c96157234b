"""A vocabulary, its file `vocabulary.json`, and what turns a sample into its class ids."""

import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, field_validator

from catlipctl import files, labels
from catlipctl.data.sample import Sample
from catlipctl.errors import DataError

FORMAT = "catlipctl-vocabulary"
VERSION = 1

MAX_BYTES = 64 * 2**20
MAX_CLASSES = 1_000_000
MAX_KEY_LENGTH = 200

Counted = Literal["occurrences", "captions"]
BUILD_HINT = "build one with: catlipctl vocab build --data SOURCE --out vocabulary.json"
KIND = files.FileKind("a vocabulary", MAX_BYTES, DataError, BUILD_HINT)


@dataclass(frozen=True)
class Vocabulary:
    """Label keys in descending order of their counts: a class id is a rank (CatLIP 3.2). Ties stand by key,
    except in an imported vocabulary, which keeps its class ids.

    extractor, extractor_version: what makes the keys from a caption.
    source: the SOURCE that was counted; captions: how many it had; captions_without_label: how many of them
    gave no key; None: not known, an imported file does not say.
    counted: `occurrences` (a caption that says dog twice counts twice) or `captions` (once).
    threshold: keys that counted no more than this were dropped (V_tau).
    dropped_keys, dropped_count: how many keys were dropped, and the labels that are in no row's count; None:
    not known.
    max_size: at most so many were kept, the most frequent; None: all above the threshold.
    faults: what was passed over or mended while it was counted, by kind: {'empty caption': 3, ...}.
    undercount: what each count may be too low by, where pruned vocabularies were merged (see `merge`).
    """

    keys: tuple[str, ...]
    counts: tuple[int, ...]
    extractor: str
    extractor_version: str
    source: str
    captions: int | None
    captions_without_label: int | None
    counted: Counted
    threshold: int
    dropped_keys: int | None = None
    dropped_count: int | None = None
    max_size: int | None = None
    faults: dict[str, int] = field(default_factory=dict)
    undercount: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def index(self) -> dict[str, int]:
        """The class id of each key."""
        return {key: i for i, key in enumerate(self.keys)}

    def size_at(self, threshold: int) -> int:
        """How many keys count more than `threshold`; no meaning below `least_threshold`."""
        return sum(count > threshold for count in self.counts)

    @property
    def least_threshold(self) -> int:
        """The lowest threshold at which all keys of the source that count more are in the vocabulary.

        Where there is an `undercount`, all that count more than both together are.
        """
        if self.dropped_keys == 0:
            return 0
        return self.counts[-1] if len(self) == self.max_size else self.threshold

    def descriptions(self) -> list[str]:
        """A name for each class, WordNet's first lemma: `dog`; of sub-words their text, all else as it is."""
        return labels.names(self.keys, self.extractor)

    def to_json(self) -> dict[str, Any]:
        """The document that `vocabulary.json` holds."""
        head = {item.name: getattr(self, item.name) for item in fields(self)[2:]}
        rows = [[key, count] for key, count in zip(self.keys, self.counts, strict=True)]
        return {"format": FORMAT, "version": VERSION, **head, "rows": rows}

    def to_text(self) -> str:
        """`to_json` as text with a row a line, so that people can read it and tools can compare it."""
        document = self.to_json()
        rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in document.pop("rows"))
        head = files.encodable(json.dumps(document, indent=2, ensure_ascii=False)).removesuffix("\n}")
        return f'{head},\n  "rows": [\n    {rows}\n  ]\n}}\n'

    def save(self, path: Path) -> None:
        """Write `vocabulary.json` atomically."""
        files.write_text(path, self.to_text())


Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Head(BaseModel):
    """What every version of the file says."""

    model_config = ConfigDict(extra="ignore")

    format: Any = None
    version: Any = None


class _Document(BaseModel):
    """What `vocabulary.json` holds, in this version. See `Vocabulary`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    extractor: str
    extractor_version: str
    source: str
    captions: Count | None
    captions_without_label: Count | None
    counted: Counted
    threshold: Count
    dropped_keys: Count | None = None
    dropped_count: Count | None = None
    max_size: Count | None = None
    faults: dict[str, Count] = {}
    undercount: Count = 0
    rows: Annotated[
        list[tuple[Annotated[str, Field(min_length=1, max_length=MAX_KEY_LENGTH)], Count]],
        Field(min_length=1, max_length=MAX_CLASSES),
        FailFast(),
    ]

    @field_validator("rows")
    @classmethod
    def _in_order(cls, rows: list[tuple[str, int]]) -> list[tuple[str, int]]:
        if len({key for key, _ in rows}) < len(rows):
            raise ValueError("a key stands in two rows")
        # Ties stand by key in what we count, but an imported file's order is its class ids.
        for number, ((_, count), (_, next_count)) in enumerate(pairwise(rows), start=1):
            if next_count > count:
                raise ValueError(f"row {number} is not in descending order of counts")
        return rows


def of_sub_words(extractor: str = "subword") -> Vocabulary:
    """All 49,408 sub-words by their ids in CLIP's vocabulary, as SuperClass has them; nothing is counted."""
    from catlipctl.labels import bpe

    keys = bpe.keys()
    return Vocabulary(
        keys=tuple(keys),
        counts=(0,) * len(keys),
        extractor=extractor,
        extractor_version=labels.extractor(extractor).version,
        source="CLIP's byte-pair encoding",
        captions=None,
        captions_without_label=None,
        counted="captions",
        threshold=0,
    )


def load(path: str | Path) -> Vocabulary:
    """Read `vocabulary.json`. Raises DataError for whatever is not a whole one."""
    return parse(KIND.read_bytes(Path(path)), str(path))


def parse(text: str | bytes, name: str = "vocabulary") -> Vocabulary:
    """The vocabulary that `text` holds (the contents of vocabulary.json); `name` is for messages."""
    head = KIND.parsed(text, name, _Head)
    if head.format != FORMAT:
        raise KIND.refused(name, f'"format" is not "{FORMAT}"')
    if head.version != VERSION:
        raise DataError(
            f"{name} has version {head.version!r:.40} of the vocabulary format; "
            f"this catlipctl reads version {VERSION}",
            "build it again, or use the catlipctl that wrote it",
        )
    document = KIND.parsed(text, name, _Document)
    about = {item.name: getattr(document, item.name) for item in fields(Vocabulary)[2:]}
    return Vocabulary(
        tuple(key for key, _ in document.rows), tuple(count for _, count in document.rows), **about
    )


class Encoder:
    """Class ids of a sample's captions, each id once, ascending. Picklable into loader workers."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._extract = labels.extractor(vocabulary.extractor)
        if self._extract.version != vocabulary.extractor_version:
            raise DataError(
                f"the vocabulary was counted with {vocabulary.extractor} {vocabulary.extractor_version}; "
                f"this is {vocabulary.extractor} {self._extract.version}, whose labels differ",
                "count it again: catlipctl vocab build --data SOURCE --out vocabulary.json",
            )
        self._index = vocabulary.index

    def __call__(self, sample: Sample) -> list[int]:
        ids = {self._index.get(key) for caption in sample.captions for key in self._extract(caption)}
        return sorted(i for i in ids if i is not None)
