"""What is learned from a batch: one file an objective, one interface."""

import importlib
import inspect

from catlipctl.errors import UsageError
from catlipctl.objectives.catlip import Catlip
from catlipctl.objectives.classification import Classification, NormedClassification
from catlipctl.objectives.clip import Clip
from catlipctl.objectives.contrastive import Contrastive
from catlipctl.objectives.objective import Context, LabelCollate, Objective, Output, unchanged_buffers
from catlipctl.objectives.siglip import Siglip
from catlipctl.objectives.superclass import Superclass
from catlipctl.objectives.superclip import Superclip

OBJECTIVES: dict[str, type[Objective]] = {
    "catlip": Catlip,
    "clip": Clip,
    "siglip": Siglip,
    "superclass": Superclass,
    "superclip": Superclip,
}
"""Those that `settings.objectives` names."""


def find(name: str) -> type[Objective]:
    """The objective of a recipe: one of `OBJECTIVES`, or another's own, `package.module:Class`.

    Raises:
        UsageError: it cannot be imported, or is no objective.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may do anything when it is imported
        raise UsageError(
            f"objective: {name} cannot be imported: {error}",
            "name it package.module:Class; its folder must be installed, or on PYTHONPATH",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Objective)) or inspect.isabstract(found):
        raise UsageError(
            f"objective: {name} is no objective",
            "it must be a class derived from catlipctl.objectives.Objective, with build and forward",
        )
    return found


__all__ = [
    "OBJECTIVES",
    "Catlip",
    "Classification",
    "Clip",
    "Context",
    "Contrastive",
    "LabelCollate",
    "NormedClassification",
    "Objective",
    "Output",
    "Siglip",
    "Superclass",
    "Superclip",
    "find",
    "unchanged_buffers",
]
