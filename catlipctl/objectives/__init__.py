"""What is learned from a batch: one file an objective, one interface."""

import difflib

from torch import nn

from catlipctl.errors import UsageError
from catlipctl.objectives.catlip import Catlip, sparse_bce
from catlipctl.objectives.objective import Objective

OBJECTIVES: dict[str, type[Objective]] = {"catlip": Catlip}

__all__ = ["OBJECTIVES", "Catlip", "Objective", "create", "sparse_bce"]


def create(name: str, model: nn.Module) -> Objective:
    """The objective of that name around an image tower with its head; UsageError for an unknown name."""
    if name not in OBJECTIVES:
        close = difflib.get_close_matches(name, OBJECTIVES, n=1)
        raise UsageError(
            f"no objective named {name!r}",
            f"did you mean {close[0]}?" if close else f"known objectives: {', '.join(OBJECTIVES)}",
        )
    return OBJECTIVES[name](model)
