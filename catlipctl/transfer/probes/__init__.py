"""Classifiers on frozen features, one file each, on one solver."""

from catlipctl.transfer.probes.attentive import AttentiveResult, attentive_probe
from catlipctl.transfer.probes.knn import KnnResult
from catlipctl.transfer.probes.linear import (
    PROTOCOL,
    MultiLabelProbeResult,
    ProbeResult,
    ProbeScores,
    linear_probe,
    probe,
)
from catlipctl.transfer.probes.together import PROBES, Evaluations, evaluate
from catlipctl.transfer.probes.zero_shot import ZeroShotResult, zero_shot

__all__ = [
    "PROBES",
    "PROTOCOL",
    "AttentiveResult",
    "Evaluations",
    "KnnResult",
    "MultiLabelProbeResult",
    "ProbeResult",
    "ProbeScores",
    "ZeroShotResult",
    "attentive_probe",
    "evaluate",
    "linear_probe",
    "probe",
    "zero_shot",
]
