"""What a frozen tower makes of labelled images: extracted once, used by every probe."""

from catlipctl.transfer.features.extraction import Features, extract
from catlipctl.transfer.features.patches import PatchTower
from catlipctl.transfer.features.sets import Extraction, LabelledFeatures, ProbeSets, extract_sets
from catlipctl.transfer.features.untrained import reestimate_batch_norm, untrained

__all__ = [
    "Extraction",
    "Features",
    "LabelledFeatures",
    "PatchTower",
    "ProbeSets",
    "extract",
    "extract_sets",
    "reestimate_batch_norm",
    "untrained",
]
