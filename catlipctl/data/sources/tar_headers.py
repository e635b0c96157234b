"""The members of a tar, from its headers alone.

Our own pass, because the usual readers take a cut or damaged archive for a complete one, and because it runs
several times as fast as `tarfile`.
"""

from collections.abc import Iterator
from typing import BinaryIO
from zlib import adler32

from catlipctl.data.sources.faults import DAMAGED, TRUNCATED

BLOCK = 512
_ZEROS = bytes(BLOCK)
_BLANK_CHECKSUM = b" " * 8
_MAX_NAME_BYTES = 2**20


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
