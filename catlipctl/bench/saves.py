"""`bench saves`: what a save costs the training, written while the loop waits and beside it.

One learner takes steps in turns, each turn as many: without a save, with one that the loop waits for
(`checkpoints.write_step`, the same files), and with one that a process writes meanwhile. The order changes
from round to round, so that whatever else the machine does hits all alike.
"""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from catlipctl import checkpoints, models
from catlipctl.bench.comparison import CLASSES, OPTIMISER, zipf_labels
from catlipctl.bench.result import Benchmark, Spread
from catlipctl.checkpoints.keeping import prune
from catlipctl.data.batch import Batch, Step
from catlipctl.objectives import Catlip, Context
from catlipctl.progress import SILENT, Progress
from catlipctl.results import high_water
from catlipctl.settings.models import ModelSettings
from catlipctl.training.learner import Learner
from catlipctl.training.report import RunState
from catlipctl.training.saving import Saves
from catlipctl.training.steps import StepSchedule
from catlipctl.training.world import World

WAYS = ("none", "synchronous", "asynchronous")


class SavesRow(BaseModel):
    """What a save of one way costs, in seconds. stall: the loop stands still, or a step waits for the copy.

    lost: by which a turn with a save is longer than the round's turn without one. stall_share, lost_share: of
    the synchronous save's stall in the same round. peak_memory_bytes: resident in the training process, after
    a save of this way and all before it in this list.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    stall: Spread
    lost: Spread
    stall_share: Spread
    lost_share: Spread
    peak_memory_bytes: int
    rounds: list[dict[str, float]]


class SavesBenchmark(Benchmark):
    """Saves of a run, synchronous and asynchronous.

    checkpoint_bytes: of one, which the asynchronous way holds in memory once more. steps: of a turn, after
    its save. seconds: of a turn without a save. written: seconds from an asynchronous save's beginning until
    the checkpoint is complete. load: of the machine, an average over the last minute, before and after.
    """

    model: str
    parameters: int
    checkpoint_bytes: int
    batch_size: int
    steps: int
    seconds: Spread
    written: Spread
    rows: list[SavesRow]
    load: tuple[float, float]

    def bars(self) -> dict[str, dict[str, float]]:
        """What `reports.saves` draws: median seconds by way, stalled and lost."""
        return {row.name: {"stall": row.stall.median, "lost": row.lost.median} for row in self.rows}


def saves(
    folder: Path,
    *,
    model: str = "vit_base_patch16_224",
    image_size: int = 224,
    classes: int = CLASSES,
    batch_size: int = 2,
    steps: int = 10,
    rounds: int = 6,
    progress: Progress = SILENT,
) -> SavesBenchmark:
    """Time saves into a folder that is made in `folder`, on the disk of runs, and deleted at the end."""
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        run = Path(stack.enter_context(TemporaryDirectory(dir=folder, prefix=".saves-")))
        turns = Turns(run, model, image_size, classes, batch_size, steps)
        stack.enter_context(turns.saves)
        peaks = {}
        for way in WAYS:  # the first of each: memory is new, files are read for the first time
            turns.take(way)
            peaks[way] = high_water()
        found: list[dict[str, dict[str, float]]] = []
        with progress.task("saving", rounds * len(WAYS), "turns") as task:
            for number in range(rounds):
                order = WAYS[number % 3 :] + WAYS[: number % 3]
                found.append({})
                for way in order if number % 2 == 0 else order[::-1]:
                    found[-1][way] = turns.take(way)
                    task.advance()
        size = checkpoints.verify(checkpoints.resolve(run)).bytes
    return SavesBenchmark(
        protocol=f"turns of {steps} steps: no save, one that the loop waits for, one beside it",
        data={"source": "made up"},
        model=model,
        parameters=sum(p.numel() for p in turns.learner.objective.parameters()),
        checkpoint_bytes=size,
        batch_size=batch_size,
        steps=steps,
        seconds=Spread.of([ways["none"]["seconds"] for ways in found]),
        written=Spread.of([ways["asynchronous"]["written"] for ways in found]),
        rows=[_row(way, found, peaks[way]) for way in WAYS[1:]],
        load=(load, os.getloadavg()[0]),
    )


def _row(way: str, found: list[dict[str, dict[str, float]]], peak: int) -> SavesRow:
    rounds = []
    for ways in found:
        stall, lost = ways[way]["stall"], ways[way]["seconds"] - ways["none"]["seconds"]
        whole = ways["synchronous"]["stall"]
        shares = {"stall_share": stall / whole, "lost_share": lost / whole}
        rounds.append({"stall": stall, "lost": lost, **shares, "seconds": ways[way]["seconds"]})
    spreads = {name: Spread.of([r[name] for r in rounds]) for name in rounds[0] if name != "seconds"}
    return SavesRow(name=way, **spreads, peak_memory_bytes=peak, rounds=rounds)


class Turns:
    """A learner that takes turns of `steps` steps on one batch, each begun by a save or by none."""

    def __init__(
        self, run: Path, model: str, image_size: int, classes: int, batch_size: int, steps: int
    ) -> None:
        self.run, self.steps, self.done = run, steps, 0
        world = World()
        torch.manual_seed(0)
        tower = models.create(ModelSettings(name=model, image_size=image_size), classes)
        objective = Catlip.build(None, Context(tower=tower, encode=lambda _: []))
        self.learner = Learner(objective, OPTIMISER, world, precision=world.precision("auto"))
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (batch_size, 3, image_size, image_size), dtype=np.uint8)
        labels, counts = zipf_labels(random, batch_size, classes)
        numbers = torch.arange(batch_size)
        self.batch = Batch(
            step=Step(index=0, size=image_size, rows=batch_size, start=0),
            images=torch.from_numpy(images),
            targets={"classes": labels, "counts": counts},
            positions=numbers,
            samples=numbers,
            counted=batch_size,
        ).to(world.device)
        most = 10**6
        schedule = StepSchedule(
            np.full(most, image_size, np.int32),
            np.full(most, batch_size, np.int64),
            np.arange(most + 1, dtype=np.int64) * batch_size,
            image_size,
        )
        self.saves = Saves(run, self.learner, schedule, world, _parts, {}, keep_last=1)

    def take(self, way: str) -> dict[str, float]:
        """One turn, in seconds: how long it was, training stood still, and the save took to its end."""
        self._step()
        begun = time.perf_counter()
        {"none": lambda: None, "synchronous": self._write, "asynchronous": self._save}[way]()
        stalled = time.perf_counter() - begun
        last = self.saves._writer.last
        waited = last.waited
        for _ in range(self.steps):
            self._step()
        seconds = time.perf_counter() - begun
        stalled += last.waited - waited
        last.done.wait()
        self.saves.finish()
        return {"seconds": seconds, "stall": stalled, "written": last.seconds}

    def _step(self) -> None:
        self.learner.step(self.batch.step, [self.batch], OPTIMISER.lr).outcome()
        self.done += 1

    def _state(self) -> RunState:
        return RunState(self.done, {"seconds": 0.0, "replaced": 0.0})

    def _save(self) -> None:
        self.saves.save(self._state())

    def _write(self) -> None:
        written = checkpoints.write_step(
            self.run,
            self.done,
            tower=self.learner.objective.tower,
            weights=self.learner.tower_weights(),
            state=self.learner.state_dict(),
            state_json={"step": self.done, "kept": True},
            **_parts({}),
        )
        prune(written, 1, None)


def _parts(_: Any) -> dict[str, Any]:
    return {"config": {"objective": "catlip"}}
