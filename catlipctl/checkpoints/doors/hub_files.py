"""Single files of a repository on the Hugging Face Hub, fetched or taken from the Hub's cache."""

from pathlib import Path

from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models._hub import download_from_hf

from catlipctl import network
from catlipctl.errors import CatlipctlError, CheckpointError


def fetched(repository: str, file: str) -> Path | None:
    """The file of ORG/NAME[@REVISION]; None where there is none of that name.

    Raises MachineError where the network fails and the cache lacks it, CheckpointError for a repository that
    is not there, or not for us.
    """
    spelling = f"hf-hub:{repository}"
    hint = "check the network, or fetch the model elsewhere and name its folder: hf-hub:FOLDER"
    try:
        with network.hub(spelling, hint):
            return Path(download_from_hf(repository, file))
    except CatlipctlError:
        raise
    except Exception as error:  # a name that is none, a repository that is not there or is private
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{spelling} cannot be loaded: {said}", "name it hf-hub:ORG/NAME") from error
