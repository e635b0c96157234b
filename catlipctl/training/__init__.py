"""The engine: learner, loop, step schedule, saving and resuming, run directories. It knows no task."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Loaded when first asked for: who only looks at a run's directory needs no torch.
_MODULES = {"Learner": "learner", "Rules": "resuming", "Run": "run", "begin": "run", "fit": "loop"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
