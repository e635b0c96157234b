"""A step in spans: each is a phase (forward, backward) of a part (image tower, text tower, head and loss).

Told by hooks, so that the learner steps as it does in training. Time and operations are read at the same
moments. In the backward pass a tensor's hook runs when the node that made it is about to: there one part ends
and another begins.
"""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.objectives import Objective

T = TypeVar("T")
V = TypeVar("V", int, float)

PHASES = ("forward", "loss", "backward", "optimiser")
IMAGE, TEXT, HEAD, OPTIMISER = PARTS = ("image tower", "text tower", "head and loss", "optimiser")


class Span(NamedTuple):
    """part: None where only phases are told."""

    phase: str
    part: str | None = None

    def __str__(self) -> str:
        return self.phase if self.part is None else f"{self.phase}, {self.part}"

    @classmethod
    def parse(cls, text: str) -> "Span":
        """What `str` made."""
        phase, _, part = text.partition(", ")
        return cls(phase, part or None)


Mark = Callable[[Span], None]
"""Told a span of a step when it ends; one may be told in several pieces."""


class Contestant(Protocol):
    """What takes training steps on one batch, again and again. module: all that learns."""

    @property
    def module(self) -> nn.Module: ...

    def step(self, mark: Mark) -> float:
        """Take a step; the loss before it."""
        ...


class Watch:
    """Tells the spans of an objective's forward and backward pass.

    compiled: a compiled tower runs with its head in one piece, which then counts to it.
    """

    def __init__(self, objective: Objective, *, compiled: bool) -> None:
        self.mark: Mark = lambda _: None
        self._now = HEAD
        text: nn.Module | None = getattr(objective, "text", None)
        if compiled:
            self._part(objective.model, IMAGE, before=IMAGE, compiled=True)
        else:
            self._part(objective.tower.head, HEAD, before=IMAGE)
        if text is not None:
            self._part(text, TEXT, before=HEAD, compiled=compiled)
        for other in objective.children():
            # Such as a second head: what it is given is the image tower's, whose own hook tells.
            if other not in (objective.model, text) and any(True for _ in other.parameters()):
                self._part(other, HEAD, before=HEAD, given=False)
        objective.register_forward_hook(lambda *_: self.mark(Span("loss", HEAD)))

    def backward_ends(self) -> None:
        """Tell the last span of a backward pass."""
        self._begins(HEAD)

    def _begins(self, part: str) -> None:
        self.mark(Span("backward", self._now))
        self._now = part

    def _part(
        self, module: nn.Module, part: str, *, before: str, compiled: bool = False, given: bool = True
    ) -> None:
        """Watch a module. before: the part that runs in the forward pass until the module does.

        given: does what it is given end its backward pass, and begin that of `before`?
        """

        def entered(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.mark(Span("forward", before))
            if given and inputs and isinstance(inputs[0], Tensor) and inputs[0].requires_grad:
                inputs[0].register_hook(lambda _: self._begins(before))

        def left(_: nn.Module, __: Any, output: Any) -> None:
            self.mark(Span("forward", part))
            if isinstance(output, Tensor) and output.requires_grad:
                output.register_hook(lambda _: self._begins(part))

        # A hook is a part of what is compiled; a clock is not.
        disable: Any = torch.compiler.disable if compiled else lambda hook: hook
        module.register_forward_pre_hook(disable(entered))
        module.register_forward_hook(disable(left))


def timed(contestant: Contestant, device: torch.device, *, alone: bool = True) -> dict[Span, float]:
    """Seconds of each span of a step. They join without a gap: their sum is the step.

    On a GPU they are between events in its stream, so that nothing waits which would not wait in training. On
    a CPU they are those that cores were at it, whatever else runs there; but by the clock where a process
    waits for others (not `alone`).
    """
    if device.type != "cuda":
        clock = time.process_time if alone else time.perf_counter
        return _spans(contestant, clock, lambda begun, ended: ended - begun)
    torch.cuda.synchronize(device)
    events = _steps(contestant, _event)
    torch.cuda.synchronize(device)
    return _sums(events, lambda begun, ended: begun.elapsed_time(ended) / 1000)


def counted(contestant: Contestant, device: torch.device) -> dict[Span, int]:
    """Floating-point operations of each span of a step on the contestant's batch, as dispatched.

    torch counts matrix products, convolutions and attention; what is done element by element is not in it.
    """
    # What is compiled dispatches no operation that could be counted.
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        found = _spans(contestant, counter.get_total_flops, lambda begun, ended: ended - begun)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return found


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _spans(contestant: Contestant, read: Callable[[], T], between: Callable[[T, T], V]) -> dict[Span, V]:
    return _sums(_steps(contestant, read), between)


def _steps(contestant: Contestant, read: Callable[[], T]) -> list[tuple[Span, T]]:
    marks = [(Span("start"), read())]
    contestant.step(lambda span: marks.append((span, read())))
    return marks


def _sums(marks: list[tuple[Span, T]], between: Callable[[T, T], V]) -> dict[Span, V]:
    found: dict[Span, V] = {}
    for (_, begun), (span, ended) in pairwise(marks):
        found[span] = found.get(span, between(begun, begun)) + between(begun, ended)
    return found


def by_phase(spans: dict[Span, V]) -> dict[str, V]:
    """Sums of the phases, in their order; each is there."""
    return {phase: _sum(spans, lambda span: span.phase == phase) for phase in PHASES}  # noqa: B023


def by_part(spans: dict[Span, V]) -> dict[str, V]:
    """Sums of the parts, in their order; empty where only phases were told."""
    if all(span.part is None for span in spans):
        return {}
    return {part: _sum(spans, lambda span: span.part == part) for part in PARTS}  # noqa: B023


def _sum(spans: dict[Span, V], fits: Callable[[Span], bool]) -> V:
    total: Any = sum(value for span, value in spans.items() if fits(span))
    return total  # type: ignore[no-any-return]
