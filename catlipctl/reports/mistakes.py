"""Pictures of mistakes: some of the classes that are confused most, from an evaluation's `mistakes.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, RootModel

from catlipctl.data.decode import decode
from catlipctl.errors import DataError
from catlipctl.files import FileKind
from catlipctl.reports.page import Figure
from catlipctl.reports.transfer import Picture, gallery

FILE = "mistakes.json"
MOST_PIXELS = 2**20
KIND = FileKind("pictures of mistakes", 2**24, DataError, "run the evaluation again")


class Mistake(BaseModel):
    """One test image that was taken for another class, and how sure the classifier was."""

    model_config = ConfigDict(extra="ignore")

    sample: str
    truth: str
    predicted: str
    probability: Annotated[float, Field(ge=0, le=1)]
    jpeg: Base64Bytes


class Mistakes(RootModel[Annotated[list[Mistake], Field(max_length=100)]]):
    """All that are kept."""


def read(path: Path) -> list[Mistake]:
    """The mistakes in a file; DataError where it is none."""
    found = KIND.read_json(path, Mistakes).root
    for mistake in found:
        try:
            decode(mistake.jpeg, MOST_PIXELS)
        except DataError as error:
            raise KIND.refused(path, f"the picture of {mistake.sample}: {error.message}") from error
    return found


def pictures(mistakes: Sequence[Mistake]) -> Figure:
    """A gallery: below each picture what it was taken for, and what it is."""
    shown = [
        Picture(decode(one.jpeg, MOST_PIXELS), one.truth, one.predicted, one.probability) for one in mistakes
    ]
    return Figure(lambda: gallery(shown, title="Of the classes that are confused most"))
