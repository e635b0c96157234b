"""The manifest: size and SHA-256 of each file of a checkpoint. Written last, it says that all is there."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catlipctl import files
from catlipctl.errors import CheckpointError
from catlipctl.results import Result

NAME = "manifest.json"
VERSION: Literal[1] = 1
LARGEST_JSON = 256 * 2**20
"""Bytes; the configuration of a million classes is a third of it."""


class FileEntry(BaseModel):
    """One file as it was written."""

    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What `manifest.json` holds; file names are relative, with `/`."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["catlipctl-checkpoint"] = "catlipctl-checkpoint"
    version: Literal[1] = VERSION
    files: dict[str, FileEntry]


class Verification(Result):
    """A checkpoint of which every file is as it was written."""

    directory: str
    files: dict[str, FileEntry]
    bytes: int
    unlisted: list[str]


def write(directory: Path) -> None:
    """Write the manifest of all that lies in `directory`, each file first brought to the disk."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    entries = {path.relative_to(directory).as_posix(): _entry(path, sync=True) for path in paths}
    manifest = Manifest(files=entries)
    files.write_json(directory / NAME, manifest.model_dump())


def read(directory: Path) -> Manifest:
    """The manifest of a checkpoint; CheckpointError for a half-written one, another format or version."""
    if not (directory / NAME).is_file():
        raise CheckpointError(
            f"{directory} is half-written: no {NAME}",
            "name an earlier step-* of the run, or the run itself for its newest complete one",
        )
    document = read_json(directory / NAME)
    if isinstance(document, dict) and document.get("version", VERSION) != VERSION:
        raise CheckpointError(
            f"{directory} is a checkpoint of format version {document['version']!r}; this reads {VERSION}",
            "pip install --upgrade catlipctl",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        fault = error.errors()[0]
        raise CheckpointError(
            f"{directory / NAME} is not a checkpoint's manifest: "
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}",
            "name a directory that catlipctl wrote",
        ) from error


def read_json(path: Path) -> Any:
    """A JSON document of a checkpoint, its size bounded before it is read; CheckpointError if it is none."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise CheckpointError(f"{path} is larger than {LARGEST_JSON} bytes", "name another checkpoint")
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "name another checkpoint") from error


def complete(directory: Path) -> bool:
    """Whether all listed files are there in their full size; contents are not read."""
    try:
        manifest = read(directory)
        return all((directory / name).stat().st_size == e.bytes for name, e in manifest.files.items())
    except (CheckpointError, OSError):
        return False


def check(directory: Path, names: Iterable[str]) -> None:
    """Raise CheckpointError that names each of these files which is not what the manifest says."""
    listed = read(directory).files
    faults = [fault for name in names if (fault := _fault(directory, name, listed.get(name)))]
    if faults:
        raise CheckpointError(
            f"{directory} is damaged: {'; '.join(faults)}",
            "name another step-* of the run, or copy this one again from where it is whole",
        )


def verify(directory: Path) -> Verification:
    """Compare every file with the manifest, by size and SHA-256; CheckpointError names each that differs."""
    listed = read(directory).files
    check(directory, listed)
    present = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return Verification(
        directory=str(directory),
        files=listed,
        bytes=sum(entry.bytes for entry in listed.values()),
        unlisted=sorted(present - set(listed) - {NAME}),
    )


def _fault(directory: Path, name: str, expected: FileEntry | None) -> str | None:
    path = directory / name
    if expected is None:
        return f"{name} is not in the manifest"
    if not path.is_file():
        return f"{name} is missing"
    if (size := path.stat().st_size) != expected.bytes:
        return f"{name} has {size} bytes, not {expected.bytes}"
    if (found := _entry(path).sha256) != expected.sha256:
        return f"{name} has SHA-256 {found[:16]}…, not {expected.sha256[:16]}…"
    return None


def _entry(path: Path, *, sync: bool = False) -> FileEntry:
    with path.open("rb") as stream:
        if sync:
            os.fsync(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(bytes=path.stat().st_size, sha256=digest)
