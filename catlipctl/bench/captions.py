"""Captions to time the extractors on: lines of a text file, a source's, or the embedded ones."""

import gzip
import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

TEXT = (".txt", ".txt.gz")
LONGEST = 2**24
"""Characters after which a line is taken for two."""


class Captions(NamedTuple):
    """The texts, and where they are from."""

    name: str
    texts: list[str]

    def sha256(self) -> str:
        """A hash of the texts, a line each."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


def read_captions(
    given: str | None,
    limit: int,
    *,
    caption_keys: Sequence[str] = (),
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Captions:
    """The first `limit` captions of a text file with one a line, or of a SOURCE; default the embedded ones.

    Raises:
        DataError: there are none.
        MachineError: the embedded ones are asked for, and the extra `demo` is not installed.
    """
    name = given or "the embedded emoji"
    if given is None:
        texts = _of_emoji()
        progress.note("captions: the names of the embedded emoji; name a text file or a SOURCE to take yours")
    elif given.endswith(TEXT) and Path(given).is_file():
        texts = _lines(Path(given))
    else:
        from catlipctl import data

        source = data.open_source(given, caption_keys=caption_keys, cache_dir=cache_dir, progress=progress)
        texts = chain.from_iterable(source.captions())
    captions = Captions(name, list(islice(texts, limit)))
    if not captions.texts:
        raise DataError(f"{name} has no captions", "name a text file with a caption a line, or a SOURCE")
    return captions


def _of_emoji() -> Iterator[str]:
    from catlipctl.data import emoji_split

    emoji_split.require_packages()
    return (emoji.caption for emoji in emoji_split.split().pairs)


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace", newline="\n") as stream:
            while line := stream.readline(LONGEST):
                yield line.rstrip("\r\n")
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path} is no whole gzip file: {error}", "make it again, or unpack it") from error
