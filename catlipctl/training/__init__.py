"""The engine: learner, loop, step schedule, saving and resuming, run directories. It knows no task."""

from catlipctl.training.learner import Learner
from catlipctl.training.loop import fit
from catlipctl.training.resuming import Rules
from catlipctl.training.run import Run, begin

__all__ = [
    "Learner",
    "Rules",
    "Run",
    "begin",
    "fit",
]
