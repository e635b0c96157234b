"""What runs many of the other parts: the demo, and sweeps."""

from catlipctl.experiments.demo import DemoResult, demo
from catlipctl.experiments.sweep import SweepResult, sweep

__all__ = ["DemoResult", "SweepResult", "demo", "sweep"]
