"""The training loop, for every task, objective and number of processes. `fit` sets it going."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial

from catlipctl.data.batch import Batch, Shape
from catlipctl.data.loader import Loader, StepPieces
from catlipctl.errors import OutOfMemory, Stopped, UsageError
from catlipctl.settings.training import TrainingSettings
from catlipctl.signals import Signals, exit_code
from catlipctl.training import saved, saving
from catlipctl.training.compilation import warm_up
from catlipctl.training.directory import RunDirectory
from catlipctl.training.guard import Guard
from catlipctl.training.learner import Learner
from catlipctl.training.optimiser import learning_rate
from catlipctl.training.report import Report, Row, RunState, truncate_metrics
from catlipctl.training.run import Run
from catlipctl.training.saving import Saves
from catlipctl.training.steps import StepSchedule
from catlipctl.training.tuning import float32_products, garbage_frozen
from catlipctl.training.underway import DataWait, Told, Underway
from catlipctl.training.utilisation import Utilisation
from catlipctl.training.world import LONG_WAIT, SHORT_WAIT, STREAM_WAIT

SLOWER = 10
"""A step that takes so many times as long as any before it hangs: a larger image size does not."""


def fit(
    run: Run,
    recipe: TrainingSettings,
    learner: Learner,
    schedule: StepSchedule,
    loader: Loader,
    parts: saving.Parts,
    *,
    flops: Mapping[Shape, int],
    after_step: Callable[[int], None] | None = None,
) -> RunState:
    """Train to the end of the schedule, from the run's start: nothing or a checkpoint.

    parts: what the task writes into a checkpoint beside the tower. flops: operations of an image's forward
    pass by its shape, or none where they are not counted. after_step: what it does on the way, told
    how many steps are done. All processes call.
    """
    world, directory = run.world, run.directory
    first = schedule.pieces(schedule[0], world.rank, world.size, recipe.device_batch_size)
    micro_batch = max(map(len, first))
    provenance = run.on_main(lambda: saved.provenance(loader.source, world.size, micro_batch))
    saves = Saves(
        directory.path,
        learner,
        schedule,
        world,
        parts,
        provenance,
        recipe.save_every,
        recipe.save_minutes,
        recipe.keep_last,
        recipe.keep_every,
        run.progress,
    )
    state = RunState()
    if run.start.checkpoint is not None:
        state = saves.restore(run.start.checkpoint, run.progress)
    run.on_main(lambda: forget_after(directory, state.step))
    if state.step >= len(schedule):
        leave_complete(run, recipe, schedule, state)
        return state
    utilisation = Utilisation(world, learner.precision, flops)
    whole, done = schedule.samples(), schedule.samples(state.step)
    with ExitStack() as inside:
        inside.enter_context(float32_products(world.device, recipe.precision))
        run.training_begins(recipe, len(schedule), utilisation.peak)
        warm_up(learner, schedule, state.step, recipe.device_batch_size, run.progress)
        inside.enter_context(garbage_frozen())
        inside.enter_context(run.trackers.tracking(recipe, state.step))
        inside.enter_context(run.signals.deferred())
        inside.enter_context(saves)
        task = inside.enter_context(run.progress.task(run.task, whole, "images", done))
        report = Report(
            run.logged if world.is_main else None,
            run.progress,
            task,
            state,
            utilisation,
            learner.compilation,
            steps=len(schedule),
            every=recipe.log_every,
            source_size=loader.order.samples,
            workers=loader.workers,
        )
        peak = recipe.optimiser.peak(recipe.global_batch_size)
        train(
            learner,
            state,
            schedule,
            batches(loader, schedule, state.step, recipe, run),
            lambda step: learning_rate(step, len(schedule), peak, recipe.schedule),
            saves=saves,
            report=report,
            signals=run.signals,
            guard=Guard(saves, state, run.progress, replays=run.task == "pretrain"),
            after_step=after_step,
            patience=STREAM_WAIT if loader.streamed else SHORT_WAIT,
        )
    return state


def leave_complete(run: Run, recipe: TrainingSettings, schedule: StepSchedule, state: RunState) -> None:
    """Say that nothing is left to be done; UsageError where another length was asked for."""
    path = run.directory.path
    if any(key.startswith("length.") for key in run.start.changes):
        raise UsageError(
            f"{path} is past the new length: it has had {state.step:,} steps and "
            f"{schedule.samples(state.step):,} samples",
            "give a larger length, or leave it as it is",
        )
    run.signals.trained = True
    run.progress.note(
        f"{path} is complete: {len(schedule):,} steps; "
        f"to lengthen it, add: --out {path} --allow-recipe-change --set length.{recipe.length.unit}=N"
    )


def forget_after(directory: RunDirectory, step: int) -> None:
    """Take away the rows of steps that are made again."""
    truncate_metrics(directory.metrics, step)
    if directory.evaluations.exists():
        truncate_metrics(directory.evaluations, step, Row)


def batches(
    loader: Loader, schedule: StepSchedule, first: int, recipe: TrainingSettings, run: Run
) -> Iterator[list[Batch]]:
    """This process's pieces of each step from number `first` on.

    Whoever kills all of a job may begin with the loader's workers. The others hear of a signal with a step's
    result, so this process takes one or two more: it makes their batches, the same ones, itself.
    """
    world, done = run.world, 0

    def pieces(first: int) -> Iterator[StepPieces]:
        for step in schedule.since(first):
            yield step, schedule.pieces(step, world.rank, world.size, recipe.device_batch_size)

    try:
        for made in loader(pieces(first)):
            yield made
            done += 1
    except OutOfMemory:
        if not run.signals.received:
            raise
    yield from replace(loader, workers=0)(pieces(first + done))


def train(
    learner: Learner,
    state: RunState,
    schedule: StepSchedule,
    batches: Iterator[list[Batch]],
    rate: Callable[[int], float],
    *,
    saves: Saves,
    report: Report,
    signals: Signals,
    guard: Guard,
    after_step: Callable[[int], None] | None = None,
    patience: timedelta = SHORT_WAIT,
) -> None:
    """Take `state` to the end of the schedule; save on the way, at the end, and at a signal (raises Stopped).

    batches: of the steps from the state's on, as `Loader` gives them. rate: step -> learning rate.
    patience: how long a process may be late for a step before it counts as one that hangs. A step is
    read when the next one is launched: the host waits for no device, and no process for another's host. So
    all hear of a signal at the same step, one or two after it came.
    """
    world = learner.world
    late: deque[Underway] = deque()
    data_wait = DataWait(world.device)
    longest = 0.0

    def read(leave: int) -> tuple[int, bool]:
        """Read the steps under way but for `leave`; did a process get a signal, is a save overdue for one?"""
        signal, overdue = 0, False
        while len(late) > leave:
            underway = late.popleft()
            outcome = underway.outcome()
            data_wait.read(underway)
            report.step(underway.step, outcome, rate(underway.step.index))
            guard.watch(underway, outcome)
            signal, overdue = max(signal, *outcome.signals), overdue or any(outcome.overdue)
        return signal, overdue

    (signal,) = world.maximum(signals.received)
    if signal:
        stop(state, saves, signal)
    for step in schedule.since(state.step):
        begun = time.perf_counter()
        pieces = next(batches)
        waited = time.perf_counter() - begun
        told = partial(tell, signals, saves, data_wait.told(waited))
        late.append(learner.step(step, pieces, rate(step.index), told))
        late[-1].waited = waited
        done = step.index + 1
        signal, overdue = read(leave=1)
        longest = max(longest, time.perf_counter() - begun)
        if signal or overdue or saves.kept_at(done):
            read(leave=0)
        if signal and done < len(schedule):
            stop(state, saves, signal)
        if overdue or saves.kept_at(done):
            world.wait_at_most(LONG_WAIT)
            with report.apart("saving"):
                saves.save(state, keep=saves.kept_at(done))
        if after_step is not None:
            world.wait_at_most(LONG_WAIT)
            with report.apart("evaluating"):
                after_step(done)
        # Not before the first step: it starts workers, and may compile.
        world.wait_at_most(max(patience, between_steps(longest)))
    world.wait_at_most(LONG_WAIT)
    saves.finish()
    # One that came in the last step; whoever defers signals answers it, in all processes alike.
    (signals.received,) = world.maximum(signals.received)


def between_steps(longest: float) -> timedelta:
    """What processes wait for one another between steps, of which the longest so far took so many seconds."""
    return max(SHORT_WAIT, SLOWER * timedelta(seconds=math.ceil(longest)))


def tell(signals: Signals, saves: Saves, waited: float) -> Told:
    """What the others are to know of this process."""
    return Told(signals.received, saves.overdue, waited)


def stop(state: RunState, saves: Saves, signal: int) -> None:
    """Save, and raise Stopped."""
    if state.step == 0:
        raise Stopped(
            "stopped before the first step: nothing to save", "run it again", exit_code=exit_code(signal)
        )
    saves.world.wait_at_most(LONG_WAIT)
    saves.save(state)
    saves.finish()
    raise Stopped(
        f"stopped at step {state.step:,}, saved",
        "run the same command with --resume to go on",
        exit_code=exit_code(signal),
    )
