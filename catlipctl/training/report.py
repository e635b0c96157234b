"""What a run tells of itself as it goes: the progress bar and the rows of `metrics.jsonl`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from catlipctl.data.batch import Batch
from catlipctl.progress import Task
from catlipctl.training import metrics
from catlipctl.training.plan import Plan
from catlipctl.training.saving import TrainingState
from catlipctl.training.world import World


class Report:
    """Clocks and counters of the training loop. All processes count; rank 0 writes."""

    def __init__(
        self, path: Path, task: Task, world: World, plan: Plan, *, every: int, source_size: int
    ) -> None:
        self._path, self._task, self._world, self._plan = path, task, world, plan
        self._every, self._source_size = every, source_size
        self._replaced = self._unlabelled = 0
        self._start = self._since = time.perf_counter()
        self._waited = 0.0
        self._steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The body waits for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def step(
        self, state: TrainingState, micro_batches: list[Batch], *, loss: float, lr: float, grad_norm: float
    ) -> None:
        """A step is done: move the bar, and write a row if it is one to log."""
        for batch in micro_batches:
            self._replaced += batch.replaced
            self._unlabelled += batch.unlabelled
        self._steps += 1
        now = time.perf_counter()
        self._task.advance(self._plan.global_batch, loss=loss)
        state.totals["seconds"] += now - self._start
        self._start = now
        if state.step == 1 or state.step % self._every == 0 or state.step == self._plan.steps:
            self._row(state, now - self._since, {"loss": loss, "lr": lr, "grad_norm": grad_norm})
            self._since, self._waited, self._steps = now, 0.0, 0

    def settle(self, state: TrainingState) -> None:
        """Add this stretch's counts, over all processes, to the run's totals."""
        counts = torch.tensor([self._replaced, self._unlabelled], device=self._world.device)
        replaced, unlabelled = self._world.sum(counts).tolist()
        state.totals["replaced"] += replaced
        state.totals["unlabelled"] += unlabelled
        self._replaced = self._unlabelled = 0

    def _row(self, state: TrainingState, seconds: float, values: dict[str, float]) -> None:
        self.settle(state)
        if not self._world.is_main:
            return
        samples = state.step * self._plan.global_batch
        row = {
            "step": state.step,
            "samples": samples,
            "epoch": round(samples / self._source_size, 4),
            **values,
            "images_per_second": round(self._steps * self._plan.global_batch / seconds, 2),
            "data_wait": round(self._waited / seconds, 4),
            "seconds": round(state.totals["seconds"], 3),
            "replaced": state.totals["replaced"],
            "unlabelled": state.totals["unlabelled"],
        }
        metrics.append(self._path, row)
