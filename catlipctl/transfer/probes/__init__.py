"""Classifiers on frozen features, one file each, on one solver."""

from catlipctl.transfer.probes.linear import (
    PROTOCOL,
    MultiLabelProbeResult,
    ProbeResult,
    ProbeScores,
    linear_probe,
    probe,
)
from catlipctl.transfer.probes.zero_shot import zero_shot

__all__ = [
    "PROTOCOL",
    "MultiLabelProbeResult",
    "ProbeResult",
    "ProbeScores",
    "linear_probe",
    "probe",
    "zero_shot",
]
