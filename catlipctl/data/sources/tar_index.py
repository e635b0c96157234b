"""What lies where in a webdataset shard: one pass over a tar's headers, kept in the cache folder."""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.faults import MAX_CAPTION_BYTES
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tar_headers import Damage, members
from catlipctl.errors import CatlipctlError
from catlipctl.files import replacing
from catlipctl.progress import SILENT, Progress

INDEX_VERSION = 1
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
# webdataset's rule: the key ends at the first dot of the last path component; hidden files have no key.
_NAME = re.compile(rb"((?:.*/|)[^.]+)[.]([^/]*)$", re.DOTALL)
_META = re.compile(rb"__[^/]*__($|/)")


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Samples and members of one shard.

    keys, key_ends: all keys end to end, and where each of the S samples' keys ends `[S]`.
    extensions: names of the E extensions, lower case.
    sample, extension: `[M]`, which sample and extension each member is. offset, size: `[M]`, bytes.
    utf8: `[M]`, False where a small member that is not an image is no UTF-8.
    damage: '' or a kind of fault; damaged_at: the byte at which the pass ended.
    """

    keys: bytes
    key_ends: NDArray[np.int64]
    extensions: tuple[str, ...]
    sample: NDArray[np.int32]
    extension: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    utf8: NDArray[np.bool_]
    damage: str = ""
    damaged_at: int = 0

    def __len__(self) -> int:
        return len(self.key_ends)

    def key(self, row: int) -> str:
        """The key of the shard's sample `row`."""
        start = self.key_ends[row - 1] if row else 0
        return self.keys[start : self.key_ends[row]].decode(errors="replace")


def build(file: File) -> ShardIndex:
    """Read a shard's headers and group its members to samples, as webdataset does: by key.

    Members of a key need not stand side by side; one whose extension the key already has starts a new sample.
    """
    keys: list[bytes] = []
    extensions: dict[str, int] = {}
    latest: dict[bytes, int] = {}
    seen: set[tuple[int, int]] = set()
    rows: list[tuple[int, int, int, int, bool]] = []
    damage, damaged_at = "", 0
    with file.open() as stream:
        try:
            for name, offset, size in members(stream, file.size):
                match = _NAME.match(name)
                if match is None or _META.match(name):
                    continue
                key, suffix = match[1], match[2].decode(errors="replace").lower()
                extension = extensions.setdefault(suffix, len(extensions))
                sample = latest.get(key, -1)
                if sample < 0 or (sample, extension) in seen:
                    sample = latest[key] = len(keys)
                    keys.append(key)
                seen.add((sample, extension))
                utf8 = suffix in IMAGE_EXTENSIONS or size > MAX_CAPTION_BYTES or _is_utf8(stream.read(size))
                rows.append((sample, extension, offset, size, utf8))
        except Damage as found:
            damage, damaged_at = found.kind, found.offset
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    return ShardIndex(
        keys=b"".join(keys),
        key_ends=np.cumsum([len(key) for key in keys], dtype=np.int64),
        extensions=tuple(extensions),
        sample=np.array(columns[0], np.int32),
        extension=np.array(columns[1], np.int32),
        offset=np.array(columns[2], np.int64),
        size=np.array(columns[3], np.int64),
        utf8=np.array(columns[4], np.bool_),
        damage=damage,
        damaged_at=damaged_at,
    )


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def index_path(file: File, cache: Path) -> Path:
    """Where the index of a file as it is now (path, size, mtime) is kept."""
    identity = json.dumps([INDEX_VERSION, *file])
    return cache / "shards" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"


def load(path: Path) -> ShardIndex | None:
    """A kept index, or None where there is none or it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            head = json.loads(kept["head"].tobytes())
            return ShardIndex(
                keys=kept["keys"].tobytes(),
                extensions=tuple(head["extensions"]),
                damage=head["damage"],
                damaged_at=head["damaged_at"],
                **{name: kept[name] for name in _ARRAYS},
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


_ARRAYS = ("key_ends", "sample", "extension", "offset", "size", "utf8")


def save(index: ShardIndex, path: Path) -> None:
    """Keep an index.

    Raises:
        OSError: the cache folder cannot be written.
    """
    head = {"extensions": index.extensions, "damage": index.damage, "damaged_at": index.damaged_at}
    packed = io.BytesIO()
    np.savez(
        packed,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        keys=np.frombuffer(index.keys, np.uint8),
        **{name: getattr(index, name) for name in _ARRAYS},
    )
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def read_indexes(
    files: Sequence[File], cache: Path, progress: Progress = SILENT
) -> list[ShardIndex | OSError]:
    """The index of each shard, from the cache folder if there; the error where a shard cannot be read."""
    paths = [index_path(file, cache) for file in files]
    indexes: list[ShardIndex | OSError | None] = [load(path) for path in paths]
    missing = [number for number, index in enumerate(indexes) if index is None]
    unsaved: list[Exception] = []

    def read(number: int) -> ShardIndex | OSError:
        try:
            index = build(files[number])
        except OSError as error:
            return error
        try:
            save(index, paths[number])
        except (OSError, CatlipctlError) as error:
            unsaved.append(error)
        return index

    if missing:
        # Threads hide the latency of disks and networks; the parsing itself is a few microseconds a member.
        with progress.task("indexing shards", len(missing), "shards") as task, ThreadPoolExecutor(4) as pool:
            for number, index in zip(missing, pool.map(read, missing), strict=True):
                indexes[number] = index
                task.advance()
    if unsaved:
        progress.warn(f"indexes are not kept: {unsaved[0]}")
    return [index for index in indexes if index is not None]
