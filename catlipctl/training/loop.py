"""The training loop, for every objective and any number of processes: read `train` from top to bottom."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from catlipctl.data.batch import Batch
from catlipctl.errors import NonFiniteLoss, OutOfMemory, Stopped
from catlipctl.training.plan import Plan
from catlipctl.training.recipe import PretrainRecipe
from catlipctl.training.report import Report
from catlipctl.training.saving import TrainingState
from catlipctl.training.schedule import learning_rate
from catlipctl.training.signals import Signals, exit_code
from catlipctl.training.world import World, local_gradients


@dataclass(frozen=True)
class Tools:
    """What the loop works with and does not change."""

    recipe: PretrainRecipe
    plan: Plan
    world: World
    signals: Signals
    report: Report
    precision: torch.dtype
    save: Callable[[TrainingState], None]


def train(state: TrainingState, batches: Iterable[Batch], steps: int, tools: Tools) -> None:
    """Take the state to step `steps`, saving on the way, at the end, and at a signal (raises Stopped)."""
    recipe, world = tools.recipe, tools.world
    module = world.wrap(state.objective)
    parameters = [p for p in state.objective.parameters() if p.requires_grad]
    module.train()
    drawn = iter(batches)
    while state.step < steps:
        micro_batches = draw(drawn, tools)
        stop_if_asked(state, tools)
        torch.manual_seed(draws_of(recipe.seed, state.step, world.rank))
        state.objective.begin_step(micro_batches)
        with memory_errors_explained(tools):
            loss, local = accumulate(module, micro_batches, tools)
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            check_finite(state.step, loss, norm, local, micro_batches, world)
            if recipe.optimiser.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, recipe.optimiser.clip_norm, norm)
            rate = learning_rate(state.step, steps, recipe.optimiser.lr, recipe.schedule)
            for group in state.optimiser.param_groups:
                group["lr"] = rate
            state.optimiser.step()
        state.optimiser.zero_grad(set_to_none=True)
        if state.average is not None:
            state.average.update(state.objective.model)
        state.step += 1
        tools.report.step(state, micro_batches, loss=float(loss), lr=rate, grad_norm=float(norm))
        if state.step == steps or (recipe.save_every and state.step % recipe.save_every == 0):
            tools.save(state)


def draw(drawn: Iterator[Batch], tools: Tools) -> list[Batch]:
    """This process's share of the next global batch, in pieces that the device can take."""
    try:
        with tools.report.waiting():
            share = next(drawn)
    except RuntimeError:
        # A signal to the whole process group ends the loader's workers too; the state is whole, so save it.
        if tools.signals.received:
            return []
        raise
    return share.split(tools.plan.micro_batch)


def stop_if_asked(state: TrainingState, tools: Tools) -> None:
    """Save and raise Stopped if a signal came to any of the processes."""
    number = tools.world.largest(tools.signals.received)
    if not number:
        return
    if state.step == 0:
        raise Stopped(
            "stopped before the first step: nothing to save", "run it again", exit_code=exit_code(number)
        )
    tools.save(state)
    raise Stopped(
        f"stopped at step {state.step:,}, saved",
        "run the same command with --resume to go on",
        exit_code=exit_code(number),
    )


def draws_of(seed: int, step: int, rank: int) -> int:
    """The seed of a step's random draws (dropout): with it no generator's state need be saved."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])


def accumulate(module: nn.Module, micro_batches: list[Batch], tools: Tools) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the mean loss over the global batch; returns that mean, and this process's losses.

    The objective gives the mean over a micro-batch and DDP averages over processes, so each loss is weighted
    by rows * processes / global rows: shares may differ by a row, pieces by any number.
    """
    world, plan = tools.world, tools.plan
    losses = []
    mean = torch.zeros((), dtype=torch.float64, device=world.device)
    for index, batch in enumerate(micro_batches):
        last = index == len(micro_batches) - 1
        with local_gradients(module, local=not last):
            with torch.autocast(world.device.type, tools.precision, enabled=tools.precision != torch.float32):
                loss = module(batch.to(world.device))
            (loss * (len(batch) * world.size / plan.global_batch)).backward()
        losses.append(loss.detach())
        mean += losses[-1].to(mean) * (len(batch) / plan.global_batch)
    return world.sum(mean), losses


def check_finite(
    step: int, loss: Tensor, norm: Tensor, local: list[Tensor], micro_batches: list[Batch], world: World
) -> None:
    """Raise NonFiniteLoss on all processes, before the optimiser steps, naming the bad pieces' samples."""
    if math.isfinite(float(loss)) and math.isfinite(float(norm)):
        return
    what = "gradient" if math.isfinite(float(loss)) else "loss"
    bad = [
        batch
        for batch, value in zip(micro_batches, local, strict=True)
        if what == "gradient" or not math.isfinite(float(value))
    ]
    samples = world.gather([int(sample) for batch in bad for sample in batch.samples])
    shown = ", ".join(map(str, samples[:16])) + (", ..." if len(samples) > 16 else "")
    raise NonFiniteLoss(
        f"the {what} became non-finite at step {step:,} in a batch with samples {shown}",
        "lower optimiser.lr, raise schedule.warmup_steps, or look at these samples; "
        "the weights were not changed by this step",
    )


@contextmanager
def memory_errors_explained(tools: Tools) -> Iterator[None]:
    """Raise OutOfMemory where the body does not get its memory, on a GPU or a CPU."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # torch has no class of its own for memory that a CPU does not have.
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        images, device = tools.plan.micro_batch, tools.world.device
        peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
        raise OutOfMemory(
            f"out of memory with {images} images on {device}" + (f" (peak {peak:.1f} GiB)" if peak else ""),
            f"--set device_batch_size={images // 2} accumulates the same global batch in smaller pieces"
            if images > 1
            else "take a smaller tower or image",
        ) from error
