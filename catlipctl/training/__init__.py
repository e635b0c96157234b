"""The engine: learner, loop, step schedule, saving and resuming, run directories. It knows no task."""

from catlipctl.training.learner import Learner
from catlipctl.training.loop import fit
from catlipctl.training.resuming import Rules
from catlipctl.training.run import Run, begin
from catlipctl.training.settings import FIXED_ON_RESUME, FREE_ON_RESUME, TrainingSettings

__all__ = [
    "FIXED_ON_RESUME",
    "FREE_ON_RESUME",
    "Learner",
    "Rules",
    "Run",
    "TrainingSettings",
    "begin",
    "fit",
]
