"""Writing so that a reader never sees half a file: a temporary name in the same folder, then a rename."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

import platformdirs

from catlipctl.errors import CatlipctlError


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
            _sync(part)
        os.replace(temporary, path)
        if sync:
            _sync(path.parent)
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


def _sync(path: Path) -> None:
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
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
