"""Files as they are written and read.

Written, a reader never sees half of one: a temporary name in the same folder, then a rename. Read, nobody is
trusted: `FileKind` reads up to a bound, and what is wrong with a file is one sentence for a person.
"""

import csv
import errno
import io
import json
import os
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs

from catlipctl.errors import CatlipctlError, MachineError, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from catlipctl.progress import Progress

    Schema = TypeVar("Schema", bound=BaseModel)


def cache_dir() -> Path:
    """The user's cache folder for indexes, counts and built shards (`CATLIPCTL_CACHE_DIR` moves it)."""
    return Path(os.environ.get("CATLIPCTL_CACHE_DIR") or platformdirs.user_cache_dir("catlipctl"))


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is removed.

    For a file or, if the body makes a folder of it, a folder; an existing folder is never replaced.
    sync: wait until the disk has it. Without, a power cut may leave a damaged file: for many small ones that
    are checked when they are read, and can be made again.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for part in (*temporary.rglob("*"), temporary) if sync else ():
            to_disk(part)
        os.replace(temporary, path)
        if sync:
            to_disk(path.parent)
    except OSError as error:
        if (known := _known(error, path)) is not None:
            raise known from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink()


def _known(error: OSError, path: Path) -> CatlipctlError | None:
    """What it means for a person that `path` could not be written; None for an error of another kind."""
    if error.errno == errno.ENOSPC:
        there = next(folder for folder in path.parents if folder.exists())
        return CatlipctlError(
            f"disk full while writing {path} ({shutil.disk_usage(there).free / 2**20:.0f} MiB free)",
            "free some space or choose another folder; what was complete before is untouched",
        )
    if os.access(path.parent, os.W_OK | os.X_OK):
        return None
    reason = f"{path.parent} is a file" if path.parent.is_file() else error.strerror
    return CatlipctlError(f"cannot write {path}: {reason}", "choose a folder that you may write to")


def to_disk(path: Path) -> None:
    """Wait until the disk has a file, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document atomically, indented, non-ASCII kept."""
    write_text(path, as_json(document))


def as_json(document: Any) -> str:
    """A JSON document as it stands in our files: indented, non-ASCII kept."""
    return encodable(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"


def await_file(path: Path, progress: "Progress", seconds: float = 60.0) -> None:
    """Wait until a file is seen here that another machine has written: a shared file system may take a while.

    MachineError where it is not seen in so many seconds.
    """
    begun = told = time.monotonic()
    while not path.exists():
        now = time.monotonic()
        if now > begun + seconds:
            raise MachineError(
                f"{path} is not seen on {socket.gethostname()} after {seconds:.0f} s",
                "the run's directory must be the same folder on all nodes: name a shared one by --out",
            )
        if now >= told:
            progress.note(f"waiting until {path} is seen on {socket.gethostname()}")
            told = now + 10
        # NFS remembers that there was no such file, until the folder is listed.
        with suppress(OSError):
            os.listdir(path.parent)
        time.sleep(0.1)


def encodable(text: str) -> str:
    """The text with U+FFFD for what no UTF-8 file can hold: the bytes of a file's name that are none."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def unused(path: Path, endings: Sequence[str] = ("",), *, numbered: bool = False) -> Path:
    """`path`, or where that is taken the first free one of `path-2`, `path-3`, ...

    endings: a name is taken where a file with any of them is there (`.json`, `.png`). numbered: number it in
    any case, from `path-1` on.
    """
    numbers = (path.with_name(f"{path.name}-{number}") for number in count(1 if numbered else 2))
    names = numbers if numbered else chain([path], numbers)
    return next(
        name for name in names if not any(name.with_name(name.name + end).exists() for end in endings)
    )


def refuse_taken(*paths: Path) -> None:
    """Raise UsageError if one of the files or folders to write exists."""
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} exists and is never overwritten", "choose another name")


@dataclass(frozen=True)
class FileKind:
    """A kind of file that is read: what a wrong one is, and how large it may be.

    name: what people call it, `a vocabulary`. largest: bytes; no more is ever read.
    error, hint: what is raised for all that is wrong with one, so each method raises `error`.
    """

    name: str
    largest: int
    error: type[CatlipctlError]
    hint: str

    def read_bytes(self, path: Path) -> bytes:
        """All of a file, which is a regular one or a pipe: a device has no end."""
        parts, size = [], 0
        try:
            mode = os.stat(path).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                what = "it is a folder" if stat.S_ISDIR(mode) else "it is neither a regular file nor a pipe"
                raise self.error(f"cannot read {path}: {what}", self.hint)
            with open(path, "rb") as stream:
                # Not all at once: that would take the memory of the largest for each.
                while size <= self.largest and (part := stream.read(2**20)):
                    parts.append(part)
                    size += len(part)
        except OSError as error:
            raise self.error(f"cannot read {path}: {error.strerror or error}", self.hint) from error
        except ValueError as error:
            raise self.error(f"cannot read {str(path)!r}: {error}", self.hint) from error
        if size > self.largest:
            raise self.refused(path, f"it has more than {_size(self.largest)}")
        return b"".join(parts)

    def read_text(self, path: Path) -> str:
        """All of a UTF-8 file, its lines ended by `\\n`."""
        try:
            text = self.read_bytes(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.refused(path, f"it is not UTF-8 text (byte {error.start})") from error
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def read_json(self, path: Path, schema: "type[Schema]") -> "Schema":
        """The JSON document in a file, as its schema has it."""
        return self.parsed(self.read_bytes(path), path, schema)

    def parsed(self, body: "str | bytes", where: object, schema: "type[Schema]") -> "Schema":
        """The JSON document that `body` holds; `where` is for messages.

        pydantic's own parser refuses what would only fail later: deep nesting, lone surrogates, integers of
        thousands of digits.
        """
        from pydantic import ValidationError

        try:
            return schema.model_validate_json(body)
        except ValidationError as error:
            raise self.refused(where, _first_fault(error)) from error

    def read_rows(self, path: Path, schema: "type[Schema]") -> "list[Schema]":
        """The rows of a JSONL file, without a last one that a kill has torn; another wrong one is named."""
        lines = [(number, line) for number, line in enumerate(self.read_bytes(path).split(b"\n"), 1) if line]
        found: list[Schema] = []
        for number, line in lines:
            try:
                found.append(self.parsed(line, f"{path}, line {number},", schema))
            except self.error:
                if number != lines[-1][0]:
                    raise
        return found

    def read_table(self, path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
        """The rows of a CSV file whose heading has these columns, and perhaps others."""
        reader = csv.DictReader(io.StringIO(self.read_text(path), newline=""), strict=True)
        rows = []
        try:
            missing = set(columns) - set(reader.fieldnames or ())
            for row in () if missing else reader:
                missing = {name for name in columns if row[name] is None}
                if missing:
                    break
                rows.append(row)
        except csv.Error as error:
            raise self.refused(path, f"line {reader.reader.line_num}: {error}") from error
        if missing:
            raise self.refused(path, f"line {max(reader.line_num, 1)} lacks {', '.join(sorted(missing))}")
        return rows

    def refused(self, where: object, reason: str) -> CatlipctlError:
        """The error that says why this is no file of the kind."""
        return self.error(f"{where} is not {self.name}: {reason}", self.hint)


def _first_fault(error: "ValidationError") -> str:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        return f"it is not JSON ({message.removeprefix('Invalid JSON: ')})"
    place = ".".join(str(part)[:40] for part in fault["loc"])
    message = message[:1].lower() + message[1:]
    return f"{place}: {message}" if place else message


def _size(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB" if number >= 2**20 else f"{number / 2**10:,.0f} KiB"
