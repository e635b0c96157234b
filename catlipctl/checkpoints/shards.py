"""State of which each process writes a part: the names of the files, and who holds which rows. No torch."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

PIECES_JSON = "state/pieces.json"
SHARD = re.compile(r"state/state-\d{5,}-of-\d{5,}\.safetensors")
Size = Annotated[int, Field(ge=0, lt=2**63)]


def shard_name(number: int, shards: int) -> str:
    """The file of one process's pieces."""
    return f"state/state-{number:05d}-of-{shards:05d}.safetensors"


class Rows(BaseModel):
    """Who holds which rows of a tensor of `shape`. rows: of each shard, the first one and how many."""

    model_config = ConfigDict(extra="ignore")

    shape: Annotated[list[Size], Field(min_length=1)]
    rows: list[tuple[Size, Size]]

    @model_validator(mode="after")
    def _complete(self) -> "Rows":
        end = 0
        for first, count in sorted(self.rows):
            if count and first != end:
                raise ValueError(f"row {end} is in no shard, or in two")
            end += count
        if end != self.shape[0]:
            raise ValueError(f"the shards have {end} rows of {self.shape[0]}")
        return self


class Pieces(BaseModel):
    """`state/pieces.json`: how many shards there are, and the rows of each tensor that is cut."""

    model_config = ConfigDict(extra="ignore")

    shards: Annotated[int, Field(ge=1, le=100_000)]
    tensors: dict[str, Rows]

    @model_validator(mode="after")
    def _of_all(self) -> "Pieces":
        if any(len(rows.rows) != self.shards for rows in self.tensors.values()):
            raise ValueError(f"it does not say of each of {self.shards} shards what it holds")
        return self
