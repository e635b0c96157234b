"""The tar format: the members of an archive, whole or cut, and how their names make samples.

The reader is our own: the usual ones take a cut or damaged archive for a complete one, and it runs several
times as fast as `tarfile`.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from zlib import adler32

from catlipctl.data.sources.faults import DAMAGED, TRUNCATED

BLOCK = 512
DIGITS = slice(124, 135)
"""Where in a header the digits of the size are."""
_ZEROS = bytes(BLOCK)
_BLANK_CHECKSUM = b" " * 8
_MAX_NAME_BYTES = 2**20


class Member(NamedTuple):
    """A regular file in a tar. start: the byte of its first header. data, size: bytes.

    stated: its last header, a block before `data`, tells name and size as `stated_size` reads it.
    """

    name: bytes
    start: int
    data: int
    size: int
    stated: bool


class Damage(Exception):
    """The archive ends before its end mark, or a header is not one."""

    def __init__(self, kind: str, offset: int) -> None:
        super().__init__(kind)
        self.kind, self.offset = kind, offset


def members(stream: BinaryIO, size: int, start: int = 0) -> Iterator[Member]:
    """Each whole regular member of an uncompressed tar of `size` bytes, from the header at byte `start` on.

    Reads ustar, GNU long names and PAX (path, size), and goes on where another archive follows an end mark.
    The caller may read a member's bytes from `stream` before it asks for the next.

    Raises:
        Damage: after the last whole member, where the archive is cut or its next header is broken.
    """
    offset, name, override = start, b"", -1
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
            if not name and override < 0:
                start = offset
            continue
        header = _header(block)
        if header is None:
            if ended:
                return
            raise Damage(DAMAGED, offset)
        ended = False
        kind, short_name, length = header
        stated = not name and override < 0
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
            offset = end_of(data, length)
            continue
        offset = end_of(data, length)
        if kind in b"gK":
            continue
        if kind in b"07\0":
            stated = stated and block[DIGITS].isdigit() and block[DIGITS.stop] in b"\0 "
            yield Member(name or short_name, start, data, length, stated)
        start, name, override = offset, b"", -1


def end_of(data: int, size: int) -> int:
    """The byte after the last block of a member's data."""
    return data + -(-size // BLOCK) * BLOCK


def stated_size(body: bytes, header: int) -> int:
    """The size that the eleven digits of a usual header at a byte of `body` tell; -1 where it is none."""
    try:
        return int(body[header + DIGITS.start : header + DIGITS.stop], 8)
    except ValueError:
        return -1


def stated_name(body: bytes, header: int) -> bytes:
    """The name that a header at a byte of `body` tells."""
    name = body[header : header + 100].partition(b"\0")[0]
    if body[header + 345] and body[header + 257 : header + 263] == b"ustar\0":
        name = body[header + 345 : header + 500].partition(b"\0")[0] + b"/" + name
    return name


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
    return block[156:157], stated_name(block, 0), size


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
