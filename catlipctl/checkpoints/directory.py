"""A checkpoint's directory: what lies in it, whether that is whole, and which one a path means.

The manifest holds size and SHA-256 of each file. Written last, it says that all is there.
"""

import hashlib
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from catlipctl.errors import CheckpointError
from catlipctl.files import FileKind
from catlipctl.results import Result

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
VOCABULARY = "vocabulary.json"
OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = "open_clip_model.safetensors"
STATE_TENSORS = "state/state.safetensors"
STATE_JSON = "state/state.json"
MANIFEST = "manifest.json"
POINTER = "latest"
NAMES = "name a run, its checkpoints/, or one step-*"
ProblemType = Literal["single_label_classification", "multi_label_classification"]
"""Hugging Face's names. Single: the classes exclude each other, and a softmax over them gives probabilities.
Multi: an image may have several, and each has a sigmoid of its own.
"""
SINGLE_LABEL: ProblemType = "single_label_classification"
MULTI_LABEL: ProblemType = "multi_label_classification"
_STEP = re.compile(r"step-\d{8,}")
VERSION: Literal[1] = 1
STATE = FileKind("a training state", 2**24, CheckpointError, "resume from another step-* of the run")
_MANIFEST = FileKind("a checkpoint's manifest", 2**24, CheckpointError, "name one that catlipctl wrote")
_POINTER = FileKind("a pointer to a checkpoint", 2**10, CheckpointError, NAMES)


class FileEntry(BaseModel):
    """One file as it was written."""

    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(ge=0, lt=2**63)
    sha256: str


def _inside(name: str) -> str:
    if not name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError("it names a file outside the checkpoint")
    return name


class Manifest(BaseModel):
    """What `manifest.json` holds; file names are relative, with `/`."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["catlipctl-checkpoint"] = "catlipctl-checkpoint"
    version: Literal[1] = VERSION
    files: dict[Annotated[str, AfterValidator(_inside)], FileEntry]


class _Version(BaseModel):
    """What a manifest of every version says."""

    model_config = ConfigDict(extra="ignore")

    version: Any = VERSION


class Verification(Result):
    """A checkpoint of which every file is as it was written."""

    directory: str
    files: dict[str, FileEntry]
    bytes: int
    unlisted: list[str]


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a checkpoint; CheckpointError for a half-written one, another format or version."""
    if not (directory / MANIFEST).is_file():
        raise CheckpointError(
            f"{directory} is half-written: no {MANIFEST}",
            "name an earlier step-* of the run, or the run itself for its newest complete one",
        )
    text = _MANIFEST.read_bytes(directory / MANIFEST)
    version = _MANIFEST.parsed(text, directory / MANIFEST, _Version).version
    if version != VERSION:
        raise CheckpointError(
            f"{directory} is a checkpoint of format version {version!r:.40}; this reads {VERSION}",
            "pip install --upgrade catlipctl",
        )
    return _MANIFEST.parsed(text, directory / MANIFEST, Manifest)


def complete(directory: Path) -> bool:
    """Whether all listed files are there in their full size; contents are not read."""
    try:
        manifest = read_manifest(directory)
        return all((directory / name).stat().st_size == e.bytes for name, e in manifest.files.items())
    except (CheckpointError, OSError):
        return False


def check(directory: Path, names: Iterable[str]) -> None:
    """Raise CheckpointError that names each of these files which is not what the manifest says."""
    listed = read_manifest(directory).files
    faults = [fault for name in names if (fault := _fault(directory, name, listed.get(name)))]
    if faults:
        raise CheckpointError(
            f"{directory} is damaged: {'; '.join(faults)}",
            "name another step-* of the run, or copy this one again from where it is whole",
        )


def verify(directory: Path) -> Verification:
    """Compare every file with the manifest, by size and SHA-256; CheckpointError names each that differs."""
    listed = read_manifest(directory).files
    check(directory, listed)
    present = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return Verification(
        directory=str(directory),
        files=listed,
        bytes=sum(entry.bytes for entry in listed.values()),
        unlisted=sorted(present - set(listed) - {MANIFEST}),
    )


def _fault(directory: Path, name: str, expected: FileEntry | None) -> str | None:
    path = directory / name
    if expected is None:
        return f"{name} is not in the manifest"
    if not path.is_file():
        return f"{name} is missing"
    if (size := path.stat().st_size) != expected.bytes:
        return f"{name} has {size} bytes, not {expected.bytes}"
    if (found := file_entry(path).sha256) != expected.sha256:
        return f"{name} has SHA-256 {found[:16]}…, not {expected.sha256[:16]}…"
    return None


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(bytes=path.stat().st_size, sha256=digest)


class NewestRun(NamedTuple):
    """A run's folder, and how long ago its newest checkpoint was written."""

    path: Path
    age_seconds: float


def run_of(directory: Path) -> Path:
    """The folder of the run that a checkpoint belongs to."""
    parent = directory.parent
    return parent.parent if parent.name in ("checkpoints", "transfer", "eval") else parent


def step_name(step: int) -> str:
    """The folder of a step: `step-00001000`."""
    return f"step-{step:08d}"


def step_of(directory: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(directory.name.removeprefix("step-"))


def steps(run: Path) -> list[Path]:
    """The run's checkpoints, complete or not, the newest first."""
    found = [path for path in (run / "checkpoints").glob("step-*") if _STEP.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def complete_steps(run: Path) -> list[Path]:
    """The run's complete checkpoints, the newest first."""
    return [path for path in steps(run) if complete(path)]


def pointed(run: Path) -> Path | None:
    """The checkpoint that the run's pointer names, whether or not it is complete."""
    try:
        name = _POINTER.read_text(run / "checkpoints" / POINTER).strip()
    except CheckpointError:
        return None
    return run / "checkpoints" / name if _STEP.fullmatch(name) else None


def latest(run: Path) -> Path | None:
    """The checkpoint that `latest` names if that is complete, else the run's newest complete one."""
    named = pointed(run)
    if named is not None and complete(named):
        return named
    return next(iter(complete_steps(run)), None)


def resolve(spec: str | Path) -> Path:
    """The checkpoint directory that a path means: itself, or a run's (or its `checkpoints/`'s) latest.

    Raises CheckpointError where there is none, or only a half-written one.
    """
    path = Path(spec)
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}", NAMES)
    if not path.is_dir():
        origins = ", ".join(f"{origin}{path}" for origin in ("corenet:", "superclass:", "open_clip:MODEL/"))
        raise CheckpointError(
            f"{path} is a file; a checkpoint is a directory",
            f"try {path.parent}; a file of others' weights is named by what wrote it: {origins}",
        )
    if (path / MANIFEST).exists():
        return path
    run = path.parent if path.name == "checkpoints" else path
    if (run / "checkpoints").is_dir():
        if (found := latest(run)) is not None:
            return found
        raise CheckpointError(
            f"{run} has no complete checkpoint yet", "let the run reach its first save, or name another run"
        )
    if _STEP.fullmatch(path.name) or (path / "config.json").exists():
        read_manifest(path)  # raises: half-written
    raise CheckpointError(f"{path} is not a checkpoint", NAMES)


def newest_run(root: Path = Path("runs")) -> NewestRun:
    """The run under `root` whose checkpoint was written last; CheckpointError where no run has one."""
    folders = root.iterdir() if root.is_dir() else ()
    found = [(run, step) for run in folders if (step := latest(run)) is not None]
    if not found:
        raise CheckpointError(f"no run with a checkpoint under {root}/", "catlipctl pretrain")
    ages = [(time.time() - (step / MANIFEST).stat().st_mtime, run) for run, step in found]
    age, run = min(ages)
    return NewestRun(run, max(0.0, age))
