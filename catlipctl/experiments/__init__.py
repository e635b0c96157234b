"""What runs many of the other parts: the demo."""

from catlipctl.experiments.demo import DemoResult, demo

__all__ = ["DemoResult", "demo"]
