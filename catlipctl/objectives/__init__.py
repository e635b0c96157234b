"""What is learned from a batch: one file an objective, one interface."""

from catlipctl.objectives.catlip import Catlip, sparse_bce
from catlipctl.objectives.classification import Classification, ClassificationSettings
from catlipctl.objectives.clip import Clip, ClipSettings
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output, unchanged_buffers

OBJECTIVES: dict[str, type[Objective]] = {"catlip": Catlip, "clip": Clip}
"""What a pre-training recipe may name."""

__all__ = [
    "OBJECTIVES",
    "Catlip",
    "Classification",
    "ClassificationSettings",
    "Clip",
    "ClipSettings",
    "Context",
    "LabelCollate",
    "Objective",
    "Output",
    "sparse_bce",
    "unchanged_buffers",
]
