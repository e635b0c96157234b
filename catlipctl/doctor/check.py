"""What a check has found."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Check(BaseModel):
    """One thing looked at. found: what is there. mend: what to do, if anything."""

    model_config = ConfigDict(extra="forbid")

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    mend: str = ""
