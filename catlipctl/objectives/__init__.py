"""What is learned from a batch: one file an objective, one interface."""

from catlipctl.objectives.catlip import Catlip, sparse_bce
from catlipctl.objectives.classification import Classification
from catlipctl.objectives.clip import Clip
from catlipctl.objectives.contrastive import Contrastive
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output, unchanged_buffers
from catlipctl.objectives.siglip import Siglip

OBJECTIVES: dict[str, type[Objective]] = {"catlip": Catlip, "clip": Clip, "siglip": Siglip}
"""Those that `settings.objectives` names."""

__all__ = [
    "OBJECTIVES",
    "Catlip",
    "Classification",
    "Clip",
    "Context",
    "Contrastive",
    "LabelCollate",
    "Objective",
    "Output",
    "Siglip",
    "sparse_bce",
    "unchanged_buffers",
]
