"""One training step, timed phase by phase, and its floating-point operations."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.bench.learners import Learner

PHASES = ("forward", "loss", "backward", "optimiser")


class Stopwatch:
    """Wall-clock seconds between marks; the device has finished its work at each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = {}
        self._last = self._now()

    def mark(self, phase: str) -> None:
        """What was done since the last mark was this phase."""
        now = self._now()
        self.seconds[phase] = now - self._last
        self._last = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def precision(device: torch.device) -> torch.dtype:
    """bfloat16 on GPUs that compute in it, else float32."""
    has = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has else torch.float32


def train_step(learner: Learner, device: torch.device) -> tuple[dict[str, float], float]:
    """Take one step; return the seconds of each phase and the loss before it.

    Phases join without a gap: their sum is the step. `forward` is all up to the towers' outputs, which a hook
    sees, so that the objective itself is called as training calls it.
    """
    watch = Stopwatch(device)
    hook = learner.towers.register_forward_hook(lambda *_: watch.mark("forward"))
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == torch.bfloat16):
            loss = learner.objective(*learner.inputs)
    finally:
        hook.remove()
    watch.mark("loss")
    loss.backward()
    watch.mark("backward")
    learner.optimiser.step()
    learner.optimiser.zero_grad()
    watch.mark("optimiser")
    return watch.seconds, float(loss.detach())


def count_flops(learner: Learner, device: torch.device) -> int:
    """Floating-point operations of forward, loss and backward on the learner's batch, as dispatched.

    torch counts matrix products, convolutions and attention; what is done element by element is not in it.
    """
    with FlopCounterMode(display=False) as counter:
        train_step(learner, device)
    return int(counter.get_total_flops())
