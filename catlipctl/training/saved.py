"""`state.json`: where a saved run was, and what must be as it was for its losses to go on."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from catlipctl.data.content import content_hash
from catlipctl.data.sample import Source
from catlipctl.errors import DataError
from catlipctl.results import library_versions


class _Open(BaseModel):
    """Later versions may save more."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Data(_Open):
    samples: int = Field(ge=0)
    content: str


class _Totals(_Open):
    __pydantic_extra__: dict[str, float]

    seconds: float
    replaced: float


class Saved(_Open):
    """`state.json`: where the run was (see `RunState`), and what decided its losses (`provenance`)."""

    step: int = Field(ge=0, lt=2**63)
    samples: int = Field(ge=0)
    totals: _Totals
    without_moments: list[str] = []
    kept: bool = True
    data: _Data
    processes: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    threads: int = Field(ge=1)


def provenance(source: Source, processes: int, micro_batch: int) -> dict[str, Any]:
    """What decides a run's losses and stands in no recipe; saved with each checkpoint."""
    return {
        "data": {"samples": len(source), "content": content_hash(source)},
        "processes": processes,
        "micro_batch": micro_batch,
        "threads": torch.get_num_threads(),
        "versions": library_versions(),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any], module: nn.Module) -> list[str]:
    """Warnings of what is no longer as it was when the run was saved; DataError for other data."""
    if before["data"] != now["data"]:
        was, is_ = (
            f"{of['data']['samples']:,} samples (content {of['data']['content']})" for of in (before, now)
        )
        raise DataError(
            f"the data is not what this run was trained on: {was} before, {is_} now",
            "resume with the same data, or start a new run by --out",
        )
    warnings = []
    if before["threads"] != now["threads"]:
        warnings.append(
            f"the run had {before['threads']} threads, now {now['threads']}: "
            "losses may differ in the last digits"
        )
    was, is_ = (f"{of['micro_batch']} images in each of {of['processes']} processes" for of in (before, now))
    if was != is_ and any(isinstance(part, _BatchNorm) for part in module.modules()):
        warnings.append(
            f"the run had {was}, now {is_}: the tower's BatchNorm takes its statistics over these, "
            "so losses will differ"
        )
    return warnings
