"""`bench step`: one training step of CatLIP against one of CLIP, and each against a plain one.

They take turns in one process, each round in the other order, so that whatever else the machine does
meanwhile hits all alike; ratios are taken within each round, of steps that follow each other.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.bench import configuration as configurations
from catlipctl.bench.contestants import CONTESTANTS, PLAIN, TURNS
from catlipctl.bench.device import device_use, find_batch
from catlipctl.bench.learners import CLASSES, OPTIMISER, Comparison, Contestant
from catlipctl.bench.memory import peak_memory
from catlipctl.bench.result import DeviceUse, ObjectiveRow, Spread, StepBenchmark
from catlipctl.errors import OutOfMemory
from catlipctl.progress import SILENT, Progress
from catlipctl.training.compilation import compiled
from catlipctl.training.world import World

PHASES = ("forward", "loss", "backward", "optimiser")
SECONDS = 15
"""For each contestant, where no number of rounds is asked for."""
FEWEST, MOST = 4, 30
"""Rounds then: as many as fit, within these bounds, and even."""

Seconds = dict[str, float]
"""Of each phase."""


class StepSettings(BaseModel):
    """Settings of `bench step`; a model and a batch that are None are chosen for the device.

    rounds: steps of each that count, rounded up to an even number; None takes as many as fit in a quarter of
    a minute. plain: measure the plain steps too. compile: the image towers of ours. find_batch: search the
    largest batch at which a CatLIP step fits into memory.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    batch_size: int | None = Field(default=None, ge=2)
    rounds: int | None = Field(default=None, ge=1)
    classes: int = Field(default=CLASSES, ge=1)
    plain: bool = False
    compile: bool = False
    find_batch: bool = False
    seed: int = 0

    def comparison(self, device: torch.device) -> Comparison:
        """ViT-B-16 and 256 images on a GPU, ViT-S-16 and 8 elsewhere, where nothing else is asked for."""
        model, batch_size = ("ViT-B-16", 256) if device.type == "cuda" else ("ViT-S-16", 8)
        return Comparison(
            model=self.model or model,
            batch_size=self.batch_size or batch_size,
            classes=self.classes,
            seed=self.seed,
            compile=self.compile,
        )


def step(settings: StepSettings, progress: Progress = SILENT, *, cpu: bool = False) -> StepBenchmark:
    """Measure both objectives on this machine, in every process that a launcher has started.

    cpu: leave GPUs alone.
    UsageError for a configuration that cannot be compared, OutOfMemory where the batch does not fit.
    """
    world = World(cpu=cpu)
    progress = progress if world.is_main else SILENT
    comparison = settings.comparison(world.device)
    configurations.find(comparison.model)
    names = [name for name in CONTESTANTS if settings.plain or name in PLAIN]
    largest = find_batch(comparison, world, progress) if settings.find_batch else None
    peaks = {}
    for name in names:
        progress.note(f"measuring the peak memory of {name} in a separate process")
        peaks[name] = peak_memory(name, comparison, world)
    progress.note(f"warming up {comparison.model} with {comparison.batch_size} images a step")
    try:
        contestants = {name: CONTESTANTS[name](comparison, world) for name in TURNS if name in names}
        flops = {name: count_flops(one, world.device) for name, one in contestants.items()}
        for _ in range(2 if settings.compile else 1):
            warm = _round(contestants, list(contestants), world)
        before = compiled()
        rounds = _rounds(contestants, settings.rounds, warm, world, progress)
        recompiled = compiled() - before
    except (OutOfMemory, torch.OutOfMemoryError) as error:
        raise OutOfMemory(
            f"{comparison.batch_size} images a step fit into memory for each, but not for all at once",
            "take a smaller --batch-size",
        ) from error
    tower: Any = contestants["CatLIP"].module
    use = device_use(comparison, tower.tower.linear_head().in_features, recompiled, largest, world)
    world.close()
    rows = [
        ObjectiveRow(
            name=name,
            step=(spread := Spread.of([sum(taken[name].values()) for taken in rounds])),
            phases={phase: Spread.of([taken[name][phase] for taken in rounds]) for phase in PHASES},
            images_per_second=comparison.batch_size * world.size / spread.median,
            parameters=sum(parameter.numel() for parameter in contestants[name].module.parameters()),
            flops_per_sample=flops[name] // comparison.batch_size,
            peak_memory_bytes=peaks[name],
            rounds=[taken[name] for taken in rounds],
        )
        for name in names
    ]
    plain = {ours: ratios(rounds, other, ours) for ours, other in PLAIN.items() if other in names}
    return _result(comparison, rows, ratios(rounds, "CLIP", "CatLIP"), plain, use, world)


def _rounds(
    contestants: Mapping[str, Contestant],
    count: int | None,
    warm: dict[str, Seconds],
    world: World,
    progress: Progress,
) -> list[dict[str, Seconds]]:
    """The seconds of all phases, round by round. warm: those of a round that does not count."""
    turns = list(contestants)
    fitting = int(len(turns) * SECONDS / sum(sum(seconds.values()) for seconds in warm.values()))
    if count and count % 2:
        count += 1
        progress.note(f"{count} rounds, not {count - 1}: each order as often as the other")
    count = count or world.on_main(lambda: min(max(fitting // 2 * 2, FEWEST), MOST))
    rounds: list[dict[str, Seconds]] = []
    with progress.task("training steps of all", total=count, unit="rounds") as task:
        for index in range(count):
            rounds.append(_round(contestants, turns if index % 2 == 0 else turns[::-1], world))
            task.advance(1, ratio=ratios(rounds, "CLIP", "CatLIP").median)
    return rounds


def _round(contestants: Mapping[str, Contestant], turns: Sequence[str], world: World) -> dict[str, Seconds]:
    taken = {}
    for name in turns:
        world.wait()
        taken[name] = timed(contestants[name], world.device)
    return taken


def timed(contestant: Contestant, device: torch.device) -> Seconds:
    """Seconds of each phase of a step. They join without a gap: their sum is the step.

    The device has finished its work at the end of each.
    """
    marks: list[tuple[str, float]] = []

    def mark(phase: str) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        marks.append((phase, time.perf_counter()))

    mark("start")
    contestant.step(mark)
    seconds = dict.fromkeys(PHASES, 0.0)
    for (_, began), (phase, ended) in pairwise(marks):
        seconds[phase] += ended - began
    return seconds


def ratios(rounds: Sequence[Mapping[str, Seconds]], above: str, below: str) -> Spread:
    """One's step over the other's, of each round's pair."""
    return Spread.of([sum(taken[above].values()) / sum(taken[below].values()) for taken in rounds])


def count_flops(contestant: Contestant, device: torch.device) -> int:
    """Floating-point operations of forward, loss and backward on the contestant's batch, as dispatched.

    torch counts matrix products, convolutions and attention; what is done element by element is not in it.
    """
    # What is compiled dispatches no operation that could be counted.
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        timed(contestant, device)
    return int(counter.get_total_flops())


def _result(
    comparison: Comparison,
    rows: list[ObjectiveRow],
    ratio: Spread,
    plain: dict[str, Spread],
    use: DeviceUse,
    world: World,
) -> StepBenchmark:
    configuration = configurations.find(comparison.model)
    kind = str(world.precision("auto")).removeprefix("torch.")
    return StepBenchmark(
        protocol=f"training step, same batch: {comparison.model}, {comparison.classes} classes, "
        f"{world.size} x {comparison.batch_size} images, {kind} on {world.device.type}",
        seed=comparison.seed,
        data={"images": "synthetic", "labels": "synthetic", "captions": "synthetic"},
        model=comparison.model,
        image_size=configurations.image_size(configuration),
        context=configurations.text_settings(configuration).context_length,
        classes=comparison.classes,
        batch_size=comparison.batch_size,
        processes=world.size,
        device=world.device.type,
        precision=kind,
        optimiser={"name": "AdamW", **OPTIMISER.model_dump(mode="json")},
        rows=rows,
        ratio=ratio,
        plain=plain,
        compiled=comparison.compile,
        use=use,
    )
