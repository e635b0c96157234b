"""`bench loop`: images a second of the loop that trains, over those of a bare loop that does the same sums.

Both have the same tower, batch, precision, optimiser and average; the batch is on the device already. Ours
is `training.loop.train`, as `pretrain` runs it, with its reports, signals and guard; it only never saves. The
bare loop is written by hand, and looks at nothing. They take turns of some steps each, every other round in
the other order; the ratio is taken within each round.
"""

import os
from functools import partial
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from catlipctl.bench import configuration as configurations
from catlipctl.bench.comparison import CLASSES, MOMENTUM, OPTIMISER, Comparison, made_up_batch
from catlipctl.bench.learners import catlip_objective
from catlipctl.bench.result import LoopBenchmark, LoopRow, Spread
from catlipctl.bench.turns import Way, in_turns
from catlipctl.objectives.losses import Pairs, bce
from catlipctl.progress import SILENT, Progress
from catlipctl.signals import Signals
from catlipctl.training.compilation import Compilation
from catlipctl.training.guard import Guard
from catlipctl.training.learner import Learner
from catlipctl.training.loop import train
from catlipctl.training.optimiser import create, parameter_groups
from catlipctl.training.report import Report, RunState, append_row
from catlipctl.training.saving import Saves
from catlipctl.training.steps import StepSchedule
from catlipctl.training.tuning import float32_products, garbage_frozen
from catlipctl.training.utilisation import Utilisation
from catlipctl.training.world import World

FEWEST_STEPS = 3
"""Of a turn: ours reads a step when the next one is launched."""
ROUNDS = 12


class LoopSettings(BaseModel):
    """Settings of `bench loop`. rounds: turns of each that count. compile: both towers.

    model, batch_size: ViT-B-16 and 256 images on a GPU, ViT-S-16 and 8 elsewhere, where there are none.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    batch_size: int | None = Field(default=None, ge=2)
    classes: int = Field(default=CLASSES, ge=1)
    rounds: int = Field(default=ROUNDS, ge=1)
    compile: bool = False
    seed: int = 0

    def comparison(self, device: torch.device) -> Comparison:
        """What both loops have in common."""
        model, batch_size = ("ViT-B-16", 256) if device.type == "cuda" else ("ViT-S-16", 8)
        return Comparison(
            model=self.model or model,
            batch_size=self.batch_size or batch_size,
            classes=self.classes,
            seed=self.seed,
        )


def loop(settings: LoopSettings, progress: Progress = SILENT) -> LoopBenchmark:
    """Measure both loops in this process."""
    world, load = World(), os.getloadavg()[0]
    comparison = settings.comparison(world.device)
    progress.note(f"warming up {comparison.model} with {comparison.batch_size} images a step")
    with TemporaryDirectory() as folder, float32_products(world.device, "auto"), garbage_frozen():
        ways = {
            "loop": ours(comparison, world, Path(folder) / "metrics.jsonl", compiled=settings.compile),
            "bare loop": bare(comparison, world, compiled=settings.compile),
        }
        taken = in_turns(ways, settings.rounds, world.device, progress, fewest=FEWEST_STEPS)
    speeds = {name: [comparison.batch_size / seconds for seconds in all_] for name, all_ in taken.items()}
    kind = str(world.precision("auto")).removeprefix("torch.")
    return LoopBenchmark(
        protocol=f"loop of training steps, same batch: {comparison.model}, {settings.classes} classes, "
        f"{comparison.batch_size} images, {kind} on {world.device.type}",
        seed=comparison.seed,
        data={"images": "synthetic", "labels": "synthetic"},
        model=comparison.model,
        image_size=configurations.image_size(comparison.configuration()),
        classes=settings.classes,
        batch_size=comparison.batch_size,
        device=world.device.type,
        precision=kind,
        compiled=settings.compile,
        rows=[
            LoopRow(name=name, images_per_second=Spread.of(found), rounds=found)
            for name, found in speeds.items()
        ],
        ratio=Spread.of([ours / bare for ours, bare in zip(*speeds.values(), strict=True)]),
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
    )


class _NoSaves(Saves):
    """A run's checkpoints, of which there are none."""

    def __init__(self) -> None:
        pass

    @property
    def overdue(self) -> bool:
        return False

    def kept_at(self, step: int) -> bool:  # noqa: ARG002
        return False

    def finish(self) -> None:
        pass


def ours(comparison: Comparison, world: World, metrics: Path, *, compiled: bool) -> Way:
    """The loop and the learner of `pretrain`; a row of metrics for each step."""
    learner = Learner(
        catlip_objective(comparison, world),
        OPTIMISER,
        world,
        momentum=MOMENTUM,
        precision=world.precision("auto"),
        compile=compiled,
    )
    batch = made_up_batch(comparison, world).to(world.device)

    def way(count: int) -> None:
        step, state = batch.step, RunState()
        schedule = StepSchedule(
            np.full(count, step.size, np.int32),
            np.full(count, step.rows, np.int64),
            np.arange(count + 1) * step.rows,
            step.size,
        )
        saves = _NoSaves()
        with SILENT.task("") as task:
            train(
                learner,
                state,
                schedule,
                repeat([batch]),
                lambda _: OPTIMISER.lr,
                saves=saves,
                report=Report(
                    partial(append_row, metrics),
                    SILENT,
                    task,
                    state,
                    Utilisation(world, learner.precision, {}),
                    learner.compilation,
                    steps=count,
                    every=1,
                    source_size=step.rows,
                    workers=0,
                ),
                signals=Signals(),
                guard=Guard(saves, state, SILENT),
            )

    return way


def bare(comparison: Comparison, world: World, *, compiled: bool) -> Way:
    """Forward, loss, backward, clipping, optimiser, average, as one writes them by hand."""
    device, precision = world.device, world.precision("auto")
    torch.manual_seed(comparison.seed)
    tower = configurations.image_tower(comparison.configuration(), comparison.classes_of("catlip"))
    module = tower.module.to(device).train()
    optimiser = create(OPTIMISER, parameter_groups(dict(module.named_parameters()), OPTIMISER.weight_decay))
    if compiled:
        Compilation([module])
    parameters: list[Tensor] = list(module.parameters())
    averages = [parameter.detach().clone() for parameter in parameters]
    batch = made_up_batch(comparison, world).to(device)
    pairs = Pairs.of_counts(batch.targets["classes"], batch.targets["counts"])
    assert OPTIMISER.clip_norm is not None
    most: float = OPTIMISER.clip_norm

    def way(count: int) -> None:
        for _ in range(count):
            images = tower.preprocessing.prepared(batch.images)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                loss = bce(module(images), pairs)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, most)
            optimiser.step()
            optimiser.zero_grad()
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, MOMENTUM)

    return way
