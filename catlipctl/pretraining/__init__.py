"""A pre-training run: its recipe, and its assembly on the engine."""

from catlipctl.pretraining.pretrain import PretrainResult, pretrain
from catlipctl.settings.pretraining import PretrainRecipe

__all__ = ["PretrainRecipe", "PretrainResult", "pretrain"]
