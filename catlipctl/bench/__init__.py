"""How fast, how large: CatLIP against its relatives on this machine."""

from catlipctl.bench.result import ObjectiveRow, Spread, StepBenchmark
from catlipctl.bench.settings import CLASSES, StepSettings
from catlipctl.bench.step import step

__all__ = ["CLASSES", "ObjectiveRow", "Spread", "StepBenchmark", "StepSettings", "step"]
