"""From a pre-trained tower to a classifier: Transfer Init (CatLIP, 4.2), probes, fine-tuning, predictions."""

from catlipctl.transfer.curve import curve
from catlipctl.transfer.curve_points import Curve
from catlipctl.transfer.finetuning import FinetuneResult, MultiLabelFinetuneResult, finetune
from catlipctl.transfer.initialise import TransferInit, TransferredHead, transfer_init, write_transfer_init
from catlipctl.transfer.prediction import Predictions, predict
from catlipctl.transfer.probes import (
    AttentiveResult,
    Evaluations,
    MultiLabelProbeResult,
    ProbeResult,
    ProbeScores,
    attentive_probe,
    evaluate,
    linear_probe,
)

__all__ = [
    "AttentiveResult",
    "Curve",
    "Evaluations",
    "FinetuneResult",
    "MultiLabelFinetuneResult",
    "MultiLabelProbeResult",
    "Predictions",
    "ProbeResult",
    "ProbeScores",
    "TransferInit",
    "TransferredHead",
    "attentive_probe",
    "curve",
    "evaluate",
    "finetune",
    "linear_probe",
    "predict",
    "transfer_init",
    "write_transfer_init",
]
