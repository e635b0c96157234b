"""The process that makes a checkpoint of a snapshot while the run goes on. Needs no torch, so it starts fast.

It hears of a `Part` by a line on its standard input, finds the bytes in memory that both processes share, and
answers by lines: what is worth knowing, then how it ended. Where several processes have a part each, the
first one's writer waits for the receipts of the others, and makes one checkpoint of all.
"""

import errno
import json
import mmap
import os
import select
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from catlipctl import signals
from catlipctl.checkpoints.directory import FileEntry
from catlipctl.checkpoints.keeping import discard, point, prune, sweep
from catlipctl.checkpoints.shards import PIECES_JSON, Pieces, Rows
from catlipctl.checkpoints.storing import finish, store
from catlipctl.errors import CatlipctlError, CheckpointError
from catlipctl.files import FileKind, as_json, to_disk, write_text

PATIENCE = 600.0
"""Seconds for which the first waits for the others' parts: a shared file system may be slow to show files."""
TOLD_AFTER = 15.0
"""Seconds after which it says so."""
LOOK_SECONDS = 0.05
NICE = 5
"""Training comes first where all cores are in use; where it waits for a save they are not."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RECEIPT = FileKind("a receipt of a part", 2**26, CheckpointError, "save again")


@dataclass(frozen=True)
class Part:
    """One process's part of a checkpoint.

    directory: where the checkpoint will stand; temporary: where it is made. files: name -> first byte and
    end of each stretch of the shared memory, in order. texts: name -> content. number, parts: which of how
    many. pieces: name -> shape of the whole tensor, first row, and rows in this part.
    keep_last, keep_every: as `keeping.prune` takes them.
    """

    directory: str
    temporary: str
    files: dict[str, list[list[int]]]
    texts: dict[str, str] = field(default_factory=dict)
    number: int = 0
    parts: int = 1
    pieces: dict[str, tuple[list[int], int, int]] = field(default_factory=dict)
    keep_last: int | None = None
    keep_every: int | None = None

    def line(self) -> str:
        """As `main` reads it."""
        return json.dumps(asdict(self)) + "\n"

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        stretches = (stretch for file in self.files.values() for stretch in file)
        return sum(end - first for first, end in stretches) + sum(
            len(text.encode()) for text in self.texts.values()
        )


class Receipt(BaseModel):
    """What one process's writer tells the first one's: what it wrote, or why it could not."""

    model_config = ConfigDict(extra="forbid")

    files: dict[str, FileEntry] = {}
    pieces: dict[str, tuple[list[int], int, int]] = {}
    error: tuple[str, str] | None = None


def main(memory: int, parent: int) -> None:
    """Serve the process `parent` until an empty line comes, or it is gone. memory: a descriptor."""
    signals.serve(parent)
    os.nice(NICE)
    while line := sys.stdin.readline().strip():
        if not line.startswith("{"):  # a word to `_abandoned` that came too late
            continue
        part = Part(**json.loads(line))
        try:
            assemble(part, memory, lambda text: _answer(note=text))
        except Exception as error:
            message, hint = _explained(error, part)
            _give_up(part, message, hint)
            _answer(error=[message, hint])
        else:
            _answer(error=None)


def _answer(**document: Any) -> None:
    with suppress(OSError):  # the run is gone
        os.write(sys.stdout.fileno(), (json.dumps(document) + "\n").encode())


def assemble(part: Part, memory: int, tell: Callable[[str], None]) -> None:
    """Write a part. The first one's writer is done when the checkpoint is there, and others are pruned."""
    directory, temporary = Path(part.directory), Path(part.temporary)
    if part.number == 0:
        sweep(directory.parent, but=temporary)
    temporary.mkdir(parents=True, exist_ok=True)
    # Not begun where it cannot end: other files of this run want to be written meanwhile.
    if shutil.disk_usage(temporary).free < part.bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    entries = _written(part, temporary, memory)
    if part.number:
        receipt = Receipt(files=entries, pieces=part.pieces)
        write_text(temporary / _receipt(part.number), receipt.model_dump_json())
        return
    if part.parts > 1:
        receipts = [Receipt(pieces=part.pieces), *_receipts(part, temporary, tell)]
        for receipt in receipts:
            entries |= receipt.files
        (temporary / PIECES_JSON).parent.mkdir(exist_ok=True)
        document = _pieces(receipts).model_dump()
        entries[PIECES_JSON] = store(temporary / PIECES_JSON, [as_json(document).encode()])
        for number in range(1, part.parts):
            (temporary / _receipt(number)).unlink()
    finish(temporary, entries)
    if directory.exists():  # written by a run that was then cut off, or set back, to before it
        discard(directory)
    os.replace(temporary, directory)
    to_disk(directory.parent)
    point(directory)
    prune(directory, part.keep_last, part.keep_every)


def _written(part: Part, temporary: Path, memory: int) -> dict[str, FileEntry]:
    entries = {}
    shared = memoryview(mmap.mmap(memory, 0, prot=mmap.PROT_READ)) if part.files else memoryview(b"")
    for name, stretches in part.files.items():
        path = temporary / name
        path.parent.mkdir(exist_ok=True)
        entries[name] = store(path, (shared[first:end] for first, end in stretches))
    for name, text in part.texts.items():
        path = temporary / name
        path.parent.mkdir(exist_ok=True)
        entries[name] = store(path, [text.encode()])
    return entries


def _receipt(number: int) -> str:
    return f"receipt-{number:05d}.json"


def _receipts(part: Part, temporary: Path, tell: Callable[[str], None]) -> list[Receipt]:
    """What the writers of the other parts wrote, once all of it can be seen from here."""
    found: dict[int, Receipt] = {}
    begun, told = time.monotonic(), False
    while missing := [number for number in range(1, part.parts) if number not in found]:
        for number in missing:
            if (receipt := _arrived(temporary, number)) is not None:
                found[number] = receipt
        if len(found) == part.parts - 1:
            break
        waited = time.monotonic() - begun
        if waited > PATIENCE or (reason := _abandoned()):
            raise CatlipctlError(
                f"{part.directory}: the part of process {missing[0]} did not come"
                + (f" within {PATIENCE:.0f} s" if waited > PATIENCE else f": {reason}"),
                "the file system that all processes share may be slow or full",
            )
        if waited > TOLD_AFTER and not told:
            tell(f"{Path(part.directory).name} waits for the part of process {missing[0]}")
            told = True
        time.sleep(LOOK_SECONDS)
    return [found[number] for number in sorted(found)]


def _arrived(temporary: Path, number: int) -> Receipt | None:
    """A part's receipt, if it and the files that it names are there; CatlipctlError if it names an error."""
    path = temporary / _receipt(number)
    if not path.exists():
        return None
    receipt = _RECEIPT.read_json(path, Receipt)
    if receipt.error is not None:
        message, hint = receipt.error
        raise CatlipctlError(f"process {number}: {message}", hint)
    with suppress(OSError):
        if all((temporary / name).stat().st_size == entry.bytes for name, entry in receipt.files.items()):
            return receipt
    return None


def _abandoned() -> str:
    """Why there is nothing to wait for any more, if the parent says so; `main` ends where it is gone."""
    if not select.select([sys.stdin], [], [], 0)[0]:
        return ""
    return sys.stdin.readline().strip() or "the run has ended"


def _pieces(receipts: list[Receipt]) -> Pieces:
    names = {name: shape for receipt in receipts for name, (shape, _, _) in receipt.pieces.items()}
    nothing: tuple[list[int], int, int] = ([], 0, 0)
    rows = {
        name: Rows(shape=shape, rows=[receipt.pieces.get(name, nothing)[1:] for receipt in receipts])
        for name, shape in names.items()
    }
    return Pieces(shards=len(receipts), tensors=rows)


def _explained(error: Exception, part: Part) -> tuple[str, str]:
    """Message and hint."""
    if isinstance(error, CatlipctlError):
        return error.message, error.hint
    if not isinstance(error, OSError):
        return f"cannot write {part.directory}: {type(error).__name__}: {error}", ""
    if error.errno not in _FULL:
        return (
            f"cannot write {part.directory}: {error.strerror or error}",
            "see that the folder can be written",
        )
    there = next(folder for folder in Path(part.temporary).parents if folder.exists())
    free = shutil.disk_usage(there).free
    return (
        f"disk full while writing {part.directory}: {part.bytes:,} bytes are needed, {free:,} are free",
        "free some space; the last complete checkpoint is untouched",
    )


def _give_up(part: Part, message: str, hint: str) -> None:
    """Take away what was written, and tell the first one's writer."""
    temporary = Path(part.temporary)
    if part.number == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        return
    with suppress(OSError, CatlipctlError):
        for name in part.files:
            (temporary / name).unlink(missing_ok=True)
        write_text(temporary / _receipt(part.number), Receipt(error=(message, hint)).model_dump_json())
