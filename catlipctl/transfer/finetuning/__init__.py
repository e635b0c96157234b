"""Fine-tuning: a pre-trained tower with a target's classifier, trained whole on the engine."""

from catlipctl.transfer.finetuning.finetune import finetune
from catlipctl.transfer.finetuning.result import FinetuneResult, MultiLabelFinetuneResult

__all__ = ["FinetuneResult", "MultiLabelFinetuneResult", "finetune"]
