"""The door to models on the Hugging Face Hub, or in a folder laid out as there: timm's."""

from pathlib import Path

from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from pydantic import BaseModel
from timm.models._hub import download_from_hf

from catlipctl import network
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.config import KIND
from catlipctl.checkpoints.directory import CONFIG
from catlipctl.checkpoints.doors import HUB, LOCAL, timm
from catlipctl.errors import CatlipctlError, CheckpointError


class _Named(BaseModel):
    """What tells timm's config.json from that of other libraries."""

    architecture: str | None = None


def load(name: str, weights: bool) -> Checkpoint:
    """The model of the repository ORG/NAME[@REVISION], or of the folder `name`.

    It is timm's where config.json names an architecture. Raises MachineError where the
    network fails and the Hub's cache has no such model; CheckpointError for a model of another kind.
    """
    folder = Path(name) if Path(name).is_dir() else None
    place = f"{LOCAL}{name}" if folder else f"{HUB}{name}"
    config = _found(name, folder, CONFIG)
    if config and KIND.read_json(config, _Named).architecture is not None:
        return timm.load(place, weights)
    raise CheckpointError(
        f"{HUB}{name} is no model of timm's: no config.json that names an architecture",
        "name a model that timm opens from the Hub",
    )


def _found(name: str, folder: Path | None, file: str) -> Path | None:
    """A file of the model, fetched where it is on the Hub; None where the model has no such file."""
    if folder is not None:
        return folder / file if (folder / file).is_file() else None
    hint = f"check the network, or fetch the model elsewhere and name its folder: {HUB}FOLDER"
    try:
        with network.hub(f"{HUB}{name}", hint):
            return Path(download_from_hf(name, file))
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return None
    except Exception as error:  # a name that is none, a repository that is not there or is private
        if isinstance(error, CatlipctlError):
            raise
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{HUB}{name} cannot be loaded: {said}", "name it ORG/NAME") from error
