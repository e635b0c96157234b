"""What is learned from a batch: one file an objective, one interface."""

from catlipctl.objectives.catlip import Catlip, sparse_bce
from catlipctl.objectives.classification import Classification, NormedClassification
from catlipctl.objectives.clip import Clip
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output, unchanged_buffers

OBJECTIVES: dict[str, type[Objective]] = {"catlip": Catlip, "clip": Clip}
"""Those that `settings.objectives` names."""

__all__ = [
    "OBJECTIVES",
    "Catlip",
    "Classification",
    "Clip",
    "Context",
    "LabelCollate",
    "NormedClassification",
    "Objective",
    "Output",
    "sparse_bce",
    "unchanged_buffers",
]
