"""What lies where in a webdataset shard: one pass over a tar's headers, kept in the cache folder.

The pass is our own: the usual readers take a cut or damaged archive for a complete one, and it runs several
times as fast as `tarfile`.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import adler32

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.faults import DAMAGED, MAX_CAPTION_BYTES, TRUNCATED
from catlipctl.data.sources.storage import File
from catlipctl.errors import CatlipctlError
from catlipctl.files import replacing
from catlipctl.progress import SILENT, Progress

INDEX_VERSION = 1
IMAGE_EXTENSIONS = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "avifs"),
    *("jpe", "jfif", "mpo", "apng", "dib", "jp2", "j2k", "jpc", "jpf", "jpx", "j2c"),
    *("pbm", "pgm", "ppm", "pnm", "pfm", "ico"),
)
"""Those of the formats that `decode` reads, the usual ones first: of a sample that has several, the first
is the image."""
_ARRAYS = ("key_ends", "sample", "extension", "offset", "size", "utf8")
BLOCK = 512
_ZEROS = bytes(BLOCK)
_BLANK_CHECKSUM = b" " * 8
_MAX_NAME_BYTES = 2**20


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
                parts = split_name(name)
                if parts is None:
                    continue
                key, suffix = parts[0], parts[1].decode(errors="replace").lower()
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


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """A member's key and extension by webdataset's rule; None where it is part of no sample.

    The key ends at the first dot of the last path component. A hidden file has an empty one there: the folder
    is then the key, unless it has a dot of its own or there is none. `__NAME__` is about the shard.
    """
    folder, slash, last = name.rpartition(b"/")
    stem, dot, extension = last.partition(b".")
    if not dot or (not stem and (not slash or b"." in folder.rpartition(b"/")[2])):
        return None
    first = name.partition(b"/")[0]
    if len(first) >= 4 and first.startswith(b"__") and first.endswith(b"__"):
        return None
    return folder + slash + stem, extension


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
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, zipfile.BadZipFile):
        return None


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


def read_indexes(files: Sequence[File], cache: Path, progress: Progress = SILENT) -> list[ShardIndex]:
    """The index of each shard, from the cache folder if there.

    Raises:
        ReadFailed: a shard cannot be read.
    """
    paths = [index_path(file, cache) for file in files]
    indexes = [load(path) for path in paths]
    missing = [number for number, index in enumerate(indexes) if index is None]
    unsaved: list[Exception] = []

    def read(number: int) -> ShardIndex:
        index = build(files[number])
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


class Damage(Exception):
    """The archive ends before its end mark, or a header is not one."""

    def __init__(self, kind: str, offset: int) -> None:
        super().__init__(kind)
        self.kind, self.offset = kind, offset


def members(stream: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and size of each whole regular member of an uncompressed tar of `size` bytes.

    Reads ustar, GNU long names and PAX (path, size), and goes on where another archive follows an end mark.
    The caller may read a member's bytes from `stream` before it asks for the next.

    Raises:
        Damage: after the last whole member, where the archive is cut or its next header is broken.
    """
    offset, name, override = 0, b"", -1
    ended = False
    while True:
        stream.seek(offset)
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            if ended:
                return
            raise Damage(TRUNCATED, offset)
        if block == _ZEROS:
            ended, offset = True, offset + BLOCK
            continue
        header = _header(block)
        if header is None:
            if ended:
                return
            raise Damage(DAMAGED, offset)
        ended = False
        kind, short_name, length = header
        if override >= 0 and kind in b"07\0":
            length = override
        data = offset + BLOCK
        if data + length > size:
            raise Damage(TRUNCATED, offset)
        if kind in b"LxX":
            if length > _MAX_NAME_BYTES:
                raise Damage(DAMAGED, offset)
            body = stream.read(length)
            if kind == b"L":
                name = body.partition(b"\0")[0]
            else:
                name, override = _pax(body, name)
        elif kind not in b"gK":
            if kind in b"07\0":
                yield name or short_name, data, length
            name, override = b"", -1
        offset = data + -(-length // BLOCK) * BLOCK


def _header(block: bytes) -> tuple[bytes, bytes, int] | None:
    """Type, name and size in a header block, or None where it is no header."""
    try:
        # The low half of Adler-32 is 1 + the sum of the bytes, modulo 65,521: ten times as fast as sum().
        total = adler32(block[156:], adler32(_BLANK_CHECKSUM, adler32(block[:148])))
        stated = int(block[148:156].partition(b"\0")[0].strip() or b"x", 8)
        if total & 0xFFFF != (stated + 1) % 65_521:
            return None
        if block[124] & 0x80:
            size = int.from_bytes(block[125:136], "big") if block[124] == 0x80 else -1
        else:
            size = int(block[124:136].partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return None
    if size < 0:
        return None
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:263] == b"ustar\0":
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return block[156:157], name, size


def _pax(body: bytes, name: bytes) -> tuple[bytes, int]:
    """Path and size (-1: not said) in a PAX extended header."""
    size, at = -1, 0
    while at < len(body):
        digits, space, _ = body[at : at + 20].partition(b" ")
        if not space or not digits.isdigit() or int(digits) <= len(digits) + 1:
            break
        key, _, value = body[at + len(digits) + 1 : at + int(digits)].removesuffix(b"\n").partition(b"=")
        if key == b"path":
            name = value
        elif key == b"size" and value.isdigit():
            size = int(value)
        at += int(digits)
    return name, size
