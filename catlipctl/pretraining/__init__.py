"""A pre-training run: its recipe, and its assembly on the engine."""

from catlipctl.pretraining.pretrain import PretrainResult, pretrain
from catlipctl.pretraining.replay import replay

__all__ = ["PretrainResult", "pretrain", "replay"]
