"""What resuming needs, read as it is asked for, however many processes wrote it; and gathered in one file."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from catlipctl import files as atomic
from catlipctl.checkpoints.directory import STATE_TENSORS, check, read_manifest
from catlipctl.checkpoints.shards import PIECES_JSON, Pieces, Rows, shard_name
from catlipctl.checkpoints.storing import Kept, finish, header, store
from catlipctl.checkpoints.writing import plain_bytes
from catlipctl.errors import CheckpointError
from catlipctl.files import FileKind, to_disk
from catlipctl.results import Result

PIECES = FileKind("a list of pieces", 2**27, CheckpointError, "resume from another step-* of the run")


class State(Mapping[str, Tensor]):
    """The tensors of a training state by name: whole, or some rows of one.

    A file is compared with the manifest before it is first read, and only files are read that are asked for.
    CheckpointError for what is damaged, or holds NaN; KeyError for a name that is not there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        listed = read_manifest(directory).files
        self._files: dict[str, Any] = {}
        self._whole = set(self._open(STATE_TENSORS).keys()) if STATE_TENSORS in listed else set()
        self._shards, self._cut = 0, dict[str, Rows]()
        if PIECES_JSON in listed:
            check(directory, [PIECES_JSON])
            pieces = PIECES.read_json(directory / PIECES_JSON, Pieces)
            self._shards, self._cut = pieces.shards, pieces.tensors

    @property
    def shards(self) -> list[str]:
        """The files of pieces, one of each process that wrote some; none where the state is whole."""
        return [shard_name(number, self._shards) for number in range(self._shards)]

    def __iter__(self) -> Iterator[str]:
        yield from sorted(self._whole | self._cut.keys())

    def __len__(self) -> int:
        return len(self._whole | self._cut.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._whole or name in self._cut

    def __getitem__(self, name: str) -> Tensor:
        if name in self._cut:
            return self.rows(name, 0, self._cut[name].shape[0])
        return self._sound(name, self._open(STATE_TENSORS).get_tensor(self._known(name)))

    def rows(self, name: str, first: int, count: int) -> Tensor:
        """`count` rows of a tensor from row `first` on, of the files that hold them alone."""
        if name not in self._cut:
            return self._sound(
                name, self._open(STATE_TENSORS).get_slice(self._known(name))[first : first + count]
            )
        found = []
        for number, (begin, rows) in sorted(enumerate(self._cut[name].rows), key=lambda of: of[1]):
            low, high = max(first, begin), min(first + count, begin + rows)
            if low < high:
                found.append(self._piece(name, number)[low - begin : high - begin])
        return self._sound(name, torch.cat(found)) if found else self._piece(name, 0)[:0]

    def kept(self, name: str) -> Kept:
        """Type, shape and bytes of a whole tensor, which is not read."""
        if name not in self._cut:
            part = self._open(STATE_TENSORS).get_slice(self._known(name))
            return Kept(part.get_dtype(), tuple(part.get_shape()), self[name].nbytes)
        shape = self._cut[name].shape
        row = self.rows(name, 0, 1).nbytes
        return Kept(self._piece(name, 0).get_dtype(), tuple(shape), row * shape[0])

    def _known(self, name: str) -> str:
        if name not in self._whole:
            raise KeyError(name)
        return name

    def _piece(self, name: str, number: int) -> Any:
        """One shard's rows, not read yet; CheckpointError where they are not what the list of pieces says."""
        file = shard_name(number, self._shards)
        opened, expected = self._open(file), self._cut[name]
        wanted = [expected.rows[number][1], *expected.shape[1:]]
        names = opened.keys()  # a file that is open is no container
        if name not in names or (found := opened.get_slice(name)).get_shape() != wanted:
            raise PIECES.refused(self.directory / PIECES_JSON, f"{file} holds other rows of {name}")
        return found

    def _open(self, name: str) -> Any:
        if name not in self._files:
            check(self.directory, [name])
            path = self.directory / name
            try:
                self._files[name] = safe_open(path, "pt")
            except Exception as error:  # SafetensorError, and what torch makes of a header that lies
                raise CheckpointError(f"{path} cannot be read: {error}", "name another checkpoint") from error
        return self._files[name]

    def _sound(self, name: str, tensor: Tensor) -> Tensor:
        if tensor.is_floating_point() and bool(tensor.float().isnan().any()):
            raise CheckpointError(f"{self.directory}: {name} holds NaN", "name another checkpoint")
        return tensor


class Gathered(Result):
    """A checkpoint whose state was cut into `shards`, and is whole in a copy. bytes: of the state."""

    directory: str
    out: str
    shards: int
    tensors: int
    bytes: int


def gather(directory: Path, out: Path) -> Gathered:
    """Copy a checkpoint to `out` with its state in one file, as a single process writes it.

    One tensor at a time is in memory. Raises UsageError where `out` exists, CheckpointError where the
    checkpoint is damaged, or its state is whole already.
    """
    atomic.refuse_taken(out)
    listed = read_manifest(directory).files
    check(directory, listed)
    state = State(directory)
    if not state.shards:
        raise CheckpointError(f"{directory}: its state is not cut into shards", "use it as it is")
    left = {*state.shards, PIECES_JSON, STATE_TENSORS}
    with atomic.replacing(out, sync=False) as temporary:
        entries = {n: entry for n, entry in listed.items() if n not in left}
        for name in (*entries, STATE_TENSORS):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            if name in entries:
                shutil.copyfile(directory / name, temporary / name)
                to_disk(temporary / name)
        first, order = header({name: state.kept(name) for name in state})
        content = (plain_bytes(state[name]) for name in order)
        entries[STATE_TENSORS] = store(temporary / STATE_TENSORS, _after(first, content))
        finish(temporary, entries)
    to_disk(out.parent)
    return Gathered(
        directory=str(directory),
        out=str(out),
        shards=len(state.shards),
        tensors=len(order),
        bytes=entries[STATE_TENSORS].bytes,
    )


def _after(first: bytes, content: Iterator[memoryview]) -> Iterator[bytes | memoryview]:
    yield first
    yield from content
