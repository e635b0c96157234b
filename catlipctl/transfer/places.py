"""Where what is made from a checkpoint is kept, and where a data set's two splits lie."""

from itertools import count
from pathlib import Path

from catlipctl import data
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.errors import DataError
from catlipctl.progress import SILENT, Progress

TESTS = ("test", "val")


def architecture(checkpoint: Checkpoint) -> str:
    """The tower's name as timm has it."""
    return str(checkpoint.model.pretrained_cfg["architecture"])  # type: ignore[index]


def run_of(checkpoint: Checkpoint) -> Path:
    """The folder of the run that a checkpoint belongs to; `runs/NAME` for one of timm's."""
    if checkpoint.path is None:
        return Path("runs") / architecture(checkpoint)
    parent = checkpoint.path.parent
    return parent.parent if parent.name in ("checkpoints", "transfer", "eval") else parent


def unused(path: Path) -> Path:
    """`path`, or where that exists the first free one of `path-2`, `path-3`, ..."""
    if not path.exists():
        return path
    return next(p for n in count(2) if not (p := path.with_name(f"{path.name}-{n}")).exists())


def numbered(path: Path) -> Path:
    """The first free one of `path-1`, `path-2`, ..."""
    return next(p for n in count(1) if not (p := path.with_name(f"{path.name}-{n}")).exists())


def open_splits(
    spec: str,
    test: str | None = None,
    *,
    label_key: str | None = None,
    image_key: str | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[Source, Source | None]:
    """The training and the test source of a labelled SOURCE.

    `test` names the second; else a folder's `train` and its `test` or `val` are the two (so are
    `emoji:transfer`'s); else there is no test source.
    """
    folder = Path(spec)
    if spec == "emoji:transfer" or (folder / "train").is_dir():
        if test is None:
            names = TESTS if spec != "emoji:transfer" else ("test",)
            found = [name for name in names if spec == "emoji:transfer" or (folder / name).is_dir()]
            if not found:
                raise DataError(
                    f"{spec} has a train/ but neither test/ nor val/", f"--data {folder / 'train'}"
                )
            test = f"{spec}/{found[0]}"
        spec = f"{spec}/train"

    def opened(text: str) -> Source:
        return data.open_source(
            text,
            label_key=label_key,
            image_key=image_key,
            need="labels",
            cache_dir=cache_dir,
            progress=progress,
        )

    return opened(spec), None if test is None else opened(test)
