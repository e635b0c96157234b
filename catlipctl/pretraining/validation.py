"""A run measured on held-out pairs as it goes, so that one sees whether it learns: `evaluations.jsonl`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catlipctl.average_precision import CELLS_AT_ONCE, average_precision
from catlipctl.data.batch import Batch, Step, share
from catlipctl.data.loader import Loader
from catlipctl.data.sample import Source
from catlipctl.data.transform import EvalTransform
from catlipctl.objectives import Output
from catlipctl.settings.pretraining import ValidationSettings
from catlipctl.training import Learner, Run
from catlipctl.training.report import Row, read_metrics
from catlipctl.training.steps import StepSchedule


@dataclass(frozen=True)
class Spread:
    """Some of a source's samples, evenly spread over it: `samples` of `of`, in storage order."""

    samples: int
    of: int

    def take(self, start: int, count: int) -> NDArray[np.int64]:
        """The samples at these positions: int64 `[count]`."""
        return np.arange(start, start + count, dtype=np.int64) * self.of // self.samples


@dataclass(frozen=True)
class Portions:
    """How `samples` are cut into batches of at most `batch`, as even as can be, and who takes which.

    A batch is worked on by one process alone, so what it comes to does not depend on how many there are.
    Each process takes as many: where they do not come out even, some take the last one again, uncounted.
    """

    samples: int
    batch: int
    rank: int
    world: int

    @property
    def count(self) -> int:
        """Batches."""
        return -(-self.samples // self.batch)

    @property
    def largest(self) -> int:
        """Samples of the largest."""
        return -(-self.samples // self.count)

    def __getitem__(self, number: int) -> range:
        return share(self.samples, number, self.count)

    def own(self) -> list[int]:
        """The numbers of this process's batches."""
        rounds = -(-self.count // self.world)
        return [min(turn * self.world + self.rank, self.count - 1) for turn in range(rounds)]

    def by_batch(self, values: Tensor) -> Tensor:
        """Every process's values of its batches, `[W, R, ...]`, in the order of the batches."""
        numbers = torch.arange(self.count)
        return values[numbers % self.world, numbers // self.world]

    def by_sample(self, values: Tensor) -> Tensor:
        """Every process's values of its batches' rows, `[W, R, largest, ...]`, sample by sample."""
        in_batches = self.by_batch(values)
        return torch.cat([in_batches[number, : len(self[number])] for number in range(self.count)])


@dataclass(frozen=True)
class Validation:
    """The held-out pairs of a run under way."""

    settings: ValidationSettings
    source: Source
    run: Run
    learner: Learner
    schedule: StepSchedule
    workers: int

    def where_due(self, step: int) -> None:
        """After a step: measure where `every` steps have passed, and at the end. All processes call."""
        if step % self.settings.every == 0 or step == len(self.schedule):
            self.measure(step)

    def at_the_end(self) -> None:
        """Measure the last step, if a kill has come between it and its row. All processes call."""
        directory, last = self.run.directory, len(self.schedule)
        done = self.run.on_main(
            lambda: any(row["step"] == last for row in read_metrics(directory.evaluations, Row))
        )
        if not done:
            self.measure(last)

    def measure(self, step: int) -> None:
        """Write what the weights after `step` are worth. All processes call."""
        begun, world = time.perf_counter(), self.run.world
        samples = min(self.settings.samples, len(self.source))
        portions = Portions(samples, self.settings.batch, world.rank, world.size)
        found = _Found(portions, self.learner)
        with self.learner.evaluating():
            for number, (batch,) in zip(portions.own(), self._batches(portions), strict=True):
                found.add(number, batch, self.learner.objective(batch))
        row = {
            "step": step,
            "samples": self.schedule.samples(step),
            "images": samples,
            **found.means(),
            **found.mean_average_precision(),
            "weights": "raw" if self.learner.average is None else "average",
            "seconds": round(time.perf_counter() - begun, 3),
        }
        self.run.on_main(lambda: self.run.evaluated(row))

    def _batches(self, portions: Portions) -> Any:
        objective = self.learner.objective
        preprocessing = objective.tower.preprocessing
        loader = Loader(
            self.source,
            Spread(portions.samples, len(self.source)),
            EvalTransform(preprocessing),
            objective.collate,
            self.workers,
            self.run.world.device,
        )
        steps = (
            (Step(number, preprocessing.size, len(rows), rows.start), [range(len(rows))])
            for number, rows in ((number, portions[number]) for number in portions.own())
        )
        return loader(steps)


class _Found:
    """What the batches of this process came to, and with those of all the others what they are worth."""

    def __init__(self, portions: Portions, learner: Learner) -> None:
        self._portions, self._world = portions, learner.world
        self._names: list[str] = []
        self._values: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._labels: set[tuple[int, int]] = set()

    def add(self, number: int, batch: Batch, output: Output) -> None:
        """One batch. scores wait in the host's memory until all are there."""
        parts = {"loss": output.loss, **output.parts, "replaced": torch.tensor(batch.replaced / len(batch))}
        self._names = list(parts)
        self._values.append(torch.stack([part.float().cpu() for part in parts.values()]))
        if output.scores is not None:
            padded = torch.zeros(self._portions.largest, output.scores.shape[1])
            padded[: len(batch)] = output.scores
            self._scores.append(padded)
            first = self._portions[number].start
            samples = torch.arange(first, first + len(batch)).repeat_interleave(batch.targets["counts"].cpu())
            self._labels |= set(zip(samples.tolist(), batch.targets["classes"].tolist(), strict=True))

    def means(self) -> Mapping[str, float]:
        """Means over all images, and how many images could not be read and were replaced."""
        values = self._world.stack(torch.stack(self._values).to(self._world.device)).cpu().double()
        portions = self._portions
        rows = torch.tensor([len(portions[number]) for number in range(portions.count)]).double()
        sums = (portions.by_batch(values) * rows[:, None]).sum(0)
        means = dict(zip(self._names, (sums / portions.samples).tolist(), strict=True))
        return {**means, "replaced": round(sums[-1].item())}

    def mean_average_precision(self) -> Mapping[str, float]:
        """The mean over the classes that the images have, and how many these are; empty without classes.

        Beside it the mean over the third of them that the fewest images have.
        """
        if not self._scores:
            return {}
        labels = torch.tensor(sorted(set(self._world.gather(list(self._labels)))), dtype=torch.int64)
        samples, classes = labels.reshape(-1, 2).unbind(1)
        occurring, images = classes.unique(return_counts=True)
        scores = torch.stack(self._scores)
        found = []
        for ids in occurring.split(max(1, CELLS_AT_ONCE // self._portions.samples)):
            of_all = self._world.stack(scores[:, :, ids].to(self._world.device))
            own = torch.isin(classes, ids)
            positive = torch.zeros(self._portions.samples, len(ids), dtype=torch.bool)
            positive[samples[own], torch.searchsorted(ids, classes[own])] = True
            by_sample = self._portions.by_sample(of_all)
            found.append(average_precision(by_sample, positive.to(by_sample.device)).cpu())
        values = torch.cat(found) if found else torch.zeros(1)
        rarest = len(values) - 2 * len(values) // 3
        return {
            "mean_average_precision": float(values.mean()),
            "mean_average_precision_rarest": float(values[images.argsort(stable=True)[:rarest]].mean()),
            "classes": len(occurring),
        }
