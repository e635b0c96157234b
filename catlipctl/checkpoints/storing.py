"""A checkpoint's files as they go to the disk: once, hashed on the way. Needs no torch."""

import hashlib
import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from catlipctl.checkpoints.directory import MANIFEST, FileEntry, Manifest
from catlipctl.files import as_json, to_disk

SLICE = 2**22
"""Bytes that are hashed and then written: small enough that the second finds them in the cache."""
KINDS = (
    *("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16"),
    *("F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"),
)
"""safetensors' names of the types of numbers, in the order in which its library writes them: each aligned."""


class Kept(NamedTuple):
    """A tensor in a file: the type of its numbers as safetensors calls it, shape, and size in bytes."""

    kind: str
    shape: tuple[int, ...]
    bytes: int


def header(tensors: Mapping[str, Kept]) -> tuple[bytes, list[str]]:
    """What a safetensors file begins with, and the order in which the tensors' bytes follow.

    Byte for byte as the library (safetensors 0.8) writes it: length, JSON, spaces up to a multiple of 8.
    """
    order = sorted(tensors, key=lambda name: (KINDS.index(tensors[name].kind), name))
    document: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        kind, shape, size = tensors[name]
        document[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, order


def store(path: Path, content: Iterable[bytes | memoryview]) -> FileEntry:
    """Write a file of bytes, bring it to the disk, and return its size and SHA-256; it is not read again."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as stream:
        for part in content:
            for begin in range(0, len(part), SLICE):
                rest = memoryview(part)[begin : begin + SLICE]
                digest.update(rest)
                size += len(rest)
                while rest:
                    rest = rest[stream.write(rest) :]
        os.fsync(stream.fileno())
    return FileEntry(bytes=size, sha256=digest.hexdigest())


def finish(directory: Path, entries: Mapping[str, FileEntry]) -> None:
    """Write the manifest of files that were stored, and bring the folders to the disk: nothing is missing."""
    document = Manifest(files=dict(sorted(entries.items()))).model_dump()
    store(directory / MANIFEST, [as_json(document).encode()])
    for folder in sorted({(directory / name).parent for name in (*entries, MANIFEST)}):
        to_disk(folder)
