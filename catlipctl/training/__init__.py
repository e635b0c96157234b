"""The engine: learner, loop, step schedule, saving and resuming, run directories. It knows no task."""

from catlipctl.settings.training import FREE_ON_RESUME, TrainingSettings
from catlipctl.training.learner import Learner
from catlipctl.training.loop import fit
from catlipctl.training.run import Run, begin

__all__ = ["FREE_ON_RESUME", "Learner", "Run", "TrainingSettings", "begin", "fit"]
