"""Pre-training: the recipe, the loop, saving and resuming, and starting the processes that train together."""

from catlipctl.training.pretrain import pretrain
from catlipctl.training.recipe import PretrainRecipe
from catlipctl.training.results import PretrainResult

__all__ = ["PretrainRecipe", "PretrainResult", "pretrain"]
