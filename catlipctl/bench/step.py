"""`bench step`: one training step of CatLIP against one of CLIP.

The two take turns in one process, each round in the other order, so that whatever else the machine does
meanwhile hits both alike; the ratio is taken within each round.
"""

import math
from collections.abc import Mapping, Sequence

from catlipctl.bench import configuration as configurations
from catlipctl.bench.learners import LEARNERS, OPTIMISER, Learner
from catlipctl.bench.memory import peak_memory
from catlipctl.bench.result import ObjectiveRow, Spread, StepBenchmark
from catlipctl.bench.settings import Comparison, StepSettings
from catlipctl.bench.timing import PHASES, count_flops, precision, train_step
from catlipctl.errors import NonFiniteLoss
from catlipctl.progress import SILENT, Progress
from catlipctl.training.world import World

SECONDS = 30
FEWEST, MOST = 4, 30
"""Rounds where no number is asked for: as many as fit into SECONDS, within these bounds, and even."""

Seconds = dict[str, float]
"""Of each phase."""


def step(settings: StepSettings, progress: Progress = SILENT, *, cpu: bool = False) -> StepBenchmark:
    """Measure both objectives on this machine, in every process that a launcher has started.

    cpu: leave GPUs alone.
    UsageError for a configuration that cannot be compared, OutOfMemory where the batch does not fit.
    """
    world = World(cpu=cpu)
    progress = progress if world.is_main else SILENT
    comparison = settings.comparison(world.device)
    configurations.find(comparison.model)
    peaks = {}
    for name in LEARNERS:
        progress.note(f"measuring the peak memory of {name} in a process of its own")
        peaks[name] = peak_memory(name, comparison, world)
    progress.note(f"warming up {comparison.model} with {comparison.batch_size} images a step")
    learners = [build(comparison, world) for build in LEARNERS.values()]
    flops = {learner.name: count_flops(learner, world.device) for learner in learners}
    rounds = _rounds(learners, settings.rounds, world, progress)
    world.close()
    rows = [
        _row(learner, [taken[learner.name] for taken in rounds], flops, peaks, comparison, world)
        for learner in learners
    ]
    return _result(comparison, rows, _ratios(rounds), world)


def _rounds(
    learners: Sequence[Learner], count: int | None, world: World, progress: Progress
) -> list[dict[str, Seconds]]:
    """After one more step of each that does not count: the seconds of all phases, round by round."""
    warm = _round(learners, world)
    fitting = int(SECONDS / sum(sum(seconds.values()) for seconds in warm.values()))
    if count and count % 2:
        count += 1
        progress.note(f"{count} rounds, not {count - 1}: each order as often as the other")
    count = count or world.on_main(lambda: min(max(fitting // 2 * 2, FEWEST), MOST))
    rounds: list[dict[str, Seconds]] = []
    with progress.task("training steps of both", total=count, unit="rounds") as task:
        for index in range(count):
            rounds.append(_round(learners if index % 2 == 0 else learners[::-1], world))
            task.advance(1, ratio=Spread.of(_ratios(rounds)).median)
    return rounds


def _round(learners: Sequence[Learner], world: World) -> dict[str, Seconds]:
    taken = {}
    for learner in learners:
        world.wait()
        taken[learner.name], loss = train_step(learner, world.device)
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"the loss of {learner.name} became {loss}", "report it, with this command")
    return taken


def _ratios(rounds: Sequence[Mapping[str, Seconds]]) -> list[float]:
    return [sum(taken["CLIP"].values()) / sum(taken["CatLIP"].values()) for taken in rounds]


def _row(
    learner: Learner,
    rounds: list[Seconds],
    flops: Mapping[str, int],
    peaks: Mapping[str, int],
    comparison: Comparison,
    world: World,
) -> ObjectiveRow:
    step = Spread.of([sum(seconds.values()) for seconds in rounds])
    return ObjectiveRow(
        name=learner.name,
        step=step,
        phases={phase: Spread.of([seconds[phase] for seconds in rounds]) for phase in PHASES},
        images_per_second=comparison.batch_size * world.size / step.median,
        parameters=learner.parameters,
        flops_per_sample=flops[learner.name] // comparison.batch_size,
        peak_memory_bytes=peaks[learner.name],
        rounds=rounds,
    )


def _result(
    comparison: Comparison, rows: list[ObjectiveRow], ratios: list[float], world: World
) -> StepBenchmark:
    configuration = configurations.find(comparison.model)
    kind = str(precision(world.device)).removeprefix("torch.")
    return StepBenchmark(
        protocol=f"training step, same batch: {comparison.model}, {comparison.classes} classes, "
        f"{world.size} x {comparison.batch_size} images, {kind} on {world.device.type}",
        seed=comparison.seed,
        data={"images": "synthetic", "labels": "synthetic", "captions": "synthetic"},
        model=comparison.model,
        image_size=configurations.image_size(configuration),
        context=configurations.context_length(configuration),
        classes=comparison.classes,
        batch_size=comparison.batch_size,
        processes=world.size,
        device=world.device.type,
        precision=kind,
        optimiser={"name": "AdamW", **OPTIMISER.model_dump(mode="json")},
        rows=rows,
        ratio=Spread.of(ratios),
    )
