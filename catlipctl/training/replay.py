"""Captured steps taken again, by one process: where does the first value appear that is not finite?

All ranks' pieces, one after the other, are one step in more pieces: the same loss and the same gradient.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel
from torch import Tensor, nn

from catlipctl.data.batch import Batch, Step
from catlipctl.data.loader import Loader
from catlipctl.errors import DataError
from catlipctl.objectives import Objective, unchanged_buffers
from catlipctl.results import Result
from catlipctl.training.capture import Capture, CapturedPiece, CapturedStep
from catlipctl.training.learner import Learner

Where = Literal["output", "loss", "gradient"]


class Fault(BaseModel):
    """The first value that is not finite: a module's output, the loss, or a parameter's gradient, by `name`.

    rank, piece: whose. samples: those whose rows of the output are not finite; else all of the piece.
    """

    where: Where
    name: str
    rank: int
    piece: int
    samples: list[int]


class ReplayedStep(BaseModel):
    """A captured step now. loss, grad_norm: over all ranks, None where not finite. captured: what was not.

    fault: None too where finite gradients have a norm that is not.
    """

    step: int
    captured: Literal["loss", "gradient"]
    loss: float | None
    grad_norm: float | None
    fault: Fault | None


class Replay(Result):
    """What became of a run's capture. shown: was any step not finite again?"""

    run: str
    checkpoint: str
    processes: int
    device: str
    precision: str
    shown: bool
    steps: list[ReplayedStep]


def replayed(learner: Learner, loader: Loader, capture: Capture) -> list[ReplayedStep]:
    """Each captured step again, from the learner's weights, which stay; DataError for other samples."""
    requests = [
        (_step(captured), [_rows(captured, p) for p in captured.pieces]) for captured in capture.steps
    ]
    return [
        _replayed(learner, captured, batches)
        for captured, batches in zip(capture.steps, loader(requests), strict=True)
    ]


def _step(captured: CapturedStep) -> Step:
    return Step(captured.step - 1, captured.size, captured.rows, captured.start, captured.token_drop)


def _rows(captured: CapturedStep, piece: CapturedPiece) -> range:
    """The rows of the step that a piece has."""
    first = piece.positions[0] - captured.start
    return range(first, first + len(piece.positions))


def _replayed(learner: Learner, captured: CapturedStep, batches: Sequence[Batch]) -> ReplayedStep:
    for piece, batch in zip(captured.pieces, batches, strict=True):
        if batch.samples.tolist() != piece.samples:
            raise DataError(
                f"the data is not what step {captured.step:,} was taken on: samples {piece.samples[:3]}, ... "
                f"then, {batch.samples[:3].tolist()}, ... now",
                "replay with the same data, and images that can be read as they could then",
            )
    watch = Watch(learner.objective, list(zip(captured.pieces, batches, strict=True)))
    with watch.hooks(), unchanged_buffers(learner.objective):
        loss = float(learner.gradients(_step(captured), batches).totals()[0])
    norm = float(learner.distribution.grad_norm(learner.learned))
    learner.optimiser.zero_grad(set_to_none=True)
    return ReplayedStep(
        step=captured.step,
        captured=captured.found,
        loss=loss if math.isfinite(loss) else None,
        grad_norm=norm if math.isfinite(norm) else None,
        fault=watch.first(),
    )


class Watch:
    """Looks at all that a step computes. Modules are told of as they end, so the first is the innermost."""

    def __init__(self, objective: Objective, pieces: Sequence[tuple[CapturedPiece, Batch]]) -> None:
        self._objective, self._pieces = objective, pieces
        self._current = -1
        self._faults: dict[Where, Fault] = {}

    def first(self) -> Fault | None:
        """A module's before a loss: one image's NaN may make all pieces' losses NaN, even of earlier ones."""
        for where in ("output", "loss", "gradient"):
            if where in self._faults:
                return self._faults[where]
        return None

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Inside, all that the objective computes of its pieces is looked at."""
        handles = [self._objective.register_forward_pre_hook(self._begin)]
        for name, module in self._objective.named_modules():
            handles.append(module.register_forward_hook(self._output(name)))
        for name, parameter in self._objective.named_parameters():
            if parameter.requires_grad:
                handles.append(parameter.register_post_accumulate_grad_hook(self._gradient(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, *_: Any) -> None:
        self._current += 1

    def _output(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001
            for tensor in _tensors(output.loss if not name else output):
                if not bool(tensor.isfinite().all()):
                    self._found("output" if name else "loss", name or type(module).__name__, tensor)

        return look

    def _gradient(self, name: str) -> Callable[[Tensor], None]:
        def look(parameter: Tensor) -> None:
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                self._found("gradient", name)

        return look

    def _found(self, where: Where, name: str, output: Tensor | None = None) -> None:
        # Before the first piece an objective may look at all (`prepare`): whose it is, is not known.
        if self._current < 0 or where in self._faults:
            return
        piece, batch = self._pieces[self._current]
        samples = piece.samples
        if output is not None and output.ndim and len(output) == len(batch):
            bad = ~output.isfinite().flatten(1).all(1) if output.ndim > 1 else ~output.isfinite()
            samples = [sample for sample, is_bad in zip(samples, bad.tolist(), strict=True) if is_bad]
        self._faults[where] = Fault(
            where=where, name=name, rank=piece.rank, piece=piece.number, samples=samples
        )


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of what a module returns."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from (tensor for value in output.values() for tensor in _tensors(value))
    elif isinstance(output, list | tuple):
        yield from (tensor for value in output for tensor in _tensors(value))
