"""What is learned from a batch: one file an objective, one interface."""

from catlipctl.objectives.catlip import Catlip
from catlipctl.objectives.classification import Classification
from catlipctl.objectives.clip import Clip
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output, unchanged_buffers
from catlipctl.objectives.superclass import Superclass

OBJECTIVES: dict[str, type[Objective]] = {"catlip": Catlip, "clip": Clip, "superclass": Superclass}
"""Those that `settings.objectives` names."""

__all__ = [
    "OBJECTIVES",
    "Catlip",
    "Classification",
    "Clip",
    "Context",
    "LabelCollate",
    "Objective",
    "Output",
    "Superclass",
    "unchanged_buffers",
]
