"""Classifiers on frozen features, one file each, on one solver."""

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
    "Evaluations",
    "MultiLabelProbeResult",
    "ProbeResult",
    "ProbeScores",
    "ZeroShotResult",
    "evaluate",
    "linear_probe",
    "probe",
    "zero_shot",
]
