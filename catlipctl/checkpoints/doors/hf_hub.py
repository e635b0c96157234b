"""The door to models on the Hugging Face Hub, or in a folder laid out as there: timm's or open_clip's."""

from pathlib import Path

from pydantic import BaseModel

from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.config import KIND
from catlipctl.checkpoints.directory import CONFIG, OPEN_CLIP_CONFIG
from catlipctl.checkpoints.doors import HUB, LOCAL, timm
from catlipctl.checkpoints.doors.hub_files import fetched
from catlipctl.errors import CheckpointError


class _Named(BaseModel):
    """What tells timm's config.json from that of other libraries."""

    architecture: str | None = None


def load(name: str, weights: bool) -> Checkpoint:
    """The model of the repository ORG/NAME[@REVISION], or of the folder `name`.

    It is timm's where config.json names an architecture, and else open_clip's. Raises MachineError where the
    network fails and the Hub's cache has no such model; CheckpointError for a model of neither.
    """
    folder = Path(name) if Path(name).is_dir() else None
    place = f"{LOCAL}{name}" if folder else f"{HUB}{name}"
    config = _found(name, folder, CONFIG)
    if config and KIND.read_json(config, _Named).architecture is not None:
        return timm.load(place, weights)
    if _found(name, folder, OPEN_CLIP_CONFIG):
        from catlipctl.checkpoints.doors import open_clip  # which takes a second to import

        return open_clip.load(place, weights)
    raise CheckpointError(
        f"{HUB}{name} is no model of timm's or open_clip's: no config.json that names an architecture, "
        f"and no {OPEN_CLIP_CONFIG}",
        "name a model that timm or open_clip opens from the Hub",
    )


def _found(name: str, folder: Path | None, file: str) -> Path | None:
    """A file of the model; None where the model has no such file."""
    if folder is None:
        return fetched(name, file)
    return folder / file if (folder / file).is_file() else None
