"""All that learns, ready to step: one for pre-training, fine-tuning and benchmarks.

Built in this order: the objective, activation checkpointing, compilation, distribution, optimiser, average.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from catlipctl.checkpoints.pieces import Piece
from catlipctl.data.batch import Batch, Step
from catlipctl.errors import UsageError
from catlipctl.objectives import Objective, unchanged_buffers
from catlipctl.settings.training import OptimiserSettings, Sharding
from catlipctl.training import optimiser as optimisers
from catlipctl.training import state as states
from catlipctl.training.average import Average
from catlipctl.training.batch_norm import synchronise
from catlipctl.training.compilation import Compilation
from catlipctl.training.distribution import spread
from catlipctl.training.failures import errors_explained
from catlipctl.training.muon import hidden_matrices
from catlipctl.training.underway import MOST_SKIPPED, Told, Underway, Values, mark
from catlipctl.training.world import World


class Learner:
    """An objective with its optimiser and the average of its weights.

    momentum: of the average, None for none. precision: of the forward pass. compile: the towers, by
    `torch.compile`. activation_checkpointing: the towers' blocks are computed again in the backward pass.
    sharding: what each process holds. sync_batchnorm: statistics are taken over all processes.
    rate_of: a parameter's name -> its share of the learning rate. UsageError where the tower can't do it.
    """

    def __init__(
        self,
        objective: Objective,
        settings: OptimiserSettings,
        world: World,
        *,
        momentum: float | None = None,
        precision: torch.dtype = torch.float32,
        compile: bool = False,
        activation_checkpointing: bool = False,
        sharding: Sharding = "none",
        sync_batchnorm: bool = False,
        rate_of: Callable[[str], float] = lambda _: 1.0,
        seed: int = 0,
    ) -> None:
        self.objective = objective.to(world.device).train()
        self.settings, self.world, self.precision, self.seed = settings, world, precision, seed
        self.recomputes = activation_checkpointing
        if sync_batchnorm and world.size > 1:
            synchronise(objective, lambda: objective.counted > 0)
        if activation_checkpointing:
            checkpoint_activations(objective)
        self.compilation = Compilation(objective.towers()) if compile else None
        self.distribution = spread(objective, world, sharding, precision)
        self.module, self.learned = self.distribution.module, list(self.distribution.learned.values())
        # Listed once: to walk through all modules costs half a millisecond a step.
        self._buffers = list(objective.buffers())
        groups = optimisers.parameter_groups(
            self.distribution.learned,
            settings.weight_decay,
            objective.undecayed,
            rate_of=rate_of,
            hidden=hidden_matrices(objective, objective.tower.head, objective.outputs)
            if settings.name == "muon"
            else (),
        )
        self.optimiser = optimisers.create(settings, groups, self.distribution.norms)
        self.average = Average(self.distribution.held, momentum) if momentum is not None else None
        self.before_change: Callable[[], None] = nothing
        """Returns when weights, moments and averages may change: none of them is being copied."""
        self._skipped_in_a_row = torch.zeros((), dtype=torch.int32, device=world.device)

    def step(
        self, step: Step, pieces: Sequence[Batch], rate: float, told: Callable[[], Told] = Told
    ) -> Underway:
        """Launch a step on this rank's pieces, at the learning rate `rate`. The host waits for no device.

        told: what all ranks are to know of this one, asked as late as can be. Where the loss or the gradient
        is not finite the step changes nothing, on any rank; after three in a row no further one does.
        Raises OutOfMemory.
        """
        begun = mark(self.world.device)
        with errors_explained(max(map(len, pieces)), self.world.device, recomputes=self.recomputes):
            before = [(buffer, buffer.clone()) for buffer in self._buffers]
            values = self.gradients(step, pieces)
            norm = self.distribution.grad_norm(self.learned)
            totals = self._shared(values, norm, told())
            skipped = self._skipped(totals)
            self.update(norm, rate, skipped)
            # Running statistics have seen the step's images before anybody knew.
            for buffer, value in before:
                buffer.copy_(torch.where(skipped, value, buffer))
            found = torch.cat([totals[:-1], torch.stack([norm.to(totals), skipped.to(totals)])])
        return Underway(step, pieces, values.losses, values.names, found, begun)

    def gradients(self, step: Step, pieces: Sequence[Batch]) -> Values:
        """Add the gradients of the mean loss over the step's images; the losses of the pieces.

        The objective gives the mean over a piece and gradients are averaged over processes, so each loss is
        weighted by rows * processes / global rows: shares may differ by a row, pieces by any number.
        """
        values = Values(step)
        self._reseed(step.start)
        with self._autocast():
            self.objective.prepare(step, pieces)
        for number, piece in enumerate(pieces):
            # Of the position, not of the rank: dropout is the same however the step is shared out.
            self._reseed(int(piece.positions[0]))
            with self.distribution.synchronised(number == len(pieces) - 1):
                with self._autocast():
                    output = self.module(piece)
                # What is computed again must not move a BatchNorm's statistics again.
                with unchanged_buffers(self.objective) if self.recomputes else nullcontext():
                    (output.loss * (piece.counted * self.world.size / step.rows)).backward()
            values.add(piece, output.loss, output.parts)
        if self.compilation is not None:
            self.compilation.stepped(step.size)
        return values

    def rehearse(self, step: Step, pieces: Sequence[Batch]) -> None:
        """Go the way of a step up to its gradients; weights, buffers and generators stay. All ranks call.

        Raises OutOfMemory.
        """
        device = self.world.device
        with (
            errors_explained(max(map(len, pieces)), device, recomputes=self.recomputes),
            torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type),
            unchanged_buffers(self.objective),
        ):
            self.gradients(step, pieces)
        self.optimiser.zero_grad(set_to_none=True)

    def update(self, norm: Tensor, rate: float, skipped: Tensor) -> None:
        """Clip the gradients of norm `norm`, take the optimiser's step, and move the average.

        skipped: a truth on the device; where it holds, the weights, the moments and the average stay.
        """
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.learned, self.settings.clip_norm, norm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate"]
        self.before_change()
        optimisers.step_unless(self.optimiser, skipped)
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(skipped)

    def _shared(self, values: Values, norm: Tensor, told: Told) -> Tensor:
        """What the step came to over all ranks, each rank's `told`, and how many have a norm not finite."""
        slots = [0.0] * (self.world.size * len(told))
        first = self.world.rank * len(told)
        slots[first : first + len(told)] = told
        totals = values.totals(slots)
        return self.world.sum(torch.cat([totals, (~norm.isfinite()).to(totals)[None]]))

    def _skipped(self, totals: Tensor) -> Tensor:
        """Does this step change nothing? On the device, and the same on all ranks, as the totals are."""
        found = ~totals[0].isfinite() | (totals[-1] > 0) | (self._skipped_in_a_row >= MOST_SKIPPED)
        self._skipped_in_a_row = torch.where(found, self._skipped_in_a_row + 1, 0)
        return found

    def weights(self) -> dict[str, Tensor]:
        """The objective's weights as one should use them: the average where there is one. All ranks call.

        Whole tensors; where they are sharded, on rank 0 alone, and nothing elsewhere.
        """
        values = self.distribution.held if self.average is None else self.average.values
        return self.distribution.whole(values)

    def tower_weights(self) -> dict[str, Tensor]:
        """Those of the tower with its head, under its own names."""
        return states.of_tower(self.objective.finished(self.weights()))

    def state_dict(self) -> dict[str, Tensor | Piece]:
        """What resuming needs beside `tower_weights`: all other weights and the optimiser. All ranks call.

        A tensor is the same on all ranks; of what is sharded each has its own piece.
        """
        return states.saved(self.distribution, self.optimiser, self.average)

    def without_moments(self) -> list[str]:
        """Parameters that never had a gradient."""
        return [name for name, p in self.distribution.learned.items() if p not in self.optimiser.state]

    def load_state_dict(
        self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor], without_moments: Sequence[str] = ()
    ) -> None:
        """Go on from what `tower_weights` and `state_dict` gave, under any distribution. All ranks call.

        KeyError or RuntimeError names what is missing, or does not fit.
        """
        states.load(
            self.distribution,
            self.optimiser,
            partial(optimisers.moments, self.optimiser),
            self.average,
            weights,
            state,
            without_moments,
        )

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, the objective is as a checkpoint would have it, in eval mode, under autocast; no gradients.

        So with the averages where there are some, and the first process's statistics of a BatchNorm.
        Afterwards all is as it was. All ranks call; the tower is not compiled anew.
        """
        self.before_change()
        modes = {part: part.training for part in self.objective.modules()}
        compiled = {tower: tower._compiled_call_impl for tower in self.objective.towers()}
        for tower in compiled:
            tower._compiled_call_impl = None
        self._swap()
        try:
            with unchanged_buffers(self.objective), torch.no_grad(), self._autocast():
                for buffer in self.objective.buffers() if self.world.size > 1 else ():
                    torch.distributed.broadcast(buffer, 0)
                self.objective.eval()
                yield
        finally:
            for part in self.objective.modules():
                # Without a backward pass it would keep what it has gathered: these weights.
                if isinstance(part, FSDPModule):
                    part.reshard()
            self._swap()
            for tower, call in compiled.items():
                tower._compiled_call_impl = call
            for part, training in modes.items():
                part.training = training

    def _swap(self) -> None:
        if self.average is not None:
            self.average.swap()

    def _reseed(self, position: int) -> None:
        """Begin the random draws (dropout) of a position: with it no generator's state need be saved.

        Not by `torch.manual_seed`: for each kind of device that is not in use it formats a stack trace, half
        a millisecond a step or more.
        """
        seed = int(np.random.SeedSequence([self.seed, position]).generate_state(1, np.uint64)[0])
        torch.default_generator.manual_seed(seed)
        if self.world.device.type != "cpu":
            torch.get_device_module(self.world.device).manual_seed(seed)

    def _autocast(self) -> torch.autocast:
        enabled = self.precision != torch.float32
        return torch.autocast(self.world.device.type, self.precision, enabled=enabled)


def nothing() -> None:
    """What is to be done where nothing is."""


def checkpoint_activations(objective: Objective) -> None:
    """Have the towers' blocks computed again in the backward pass; UsageError where one has none."""
    try:
        for tower in objective.towers():
            change: Any = getattr(tower, "set_grad_checkpointing")  # noqa: B009
            change(True)
    except (AttributeError, AssertionError) as error:
        raise UsageError(
            f"{objective.tower.name} has no blocks whose activations can be computed again",
            "--set activation_checkpointing=false",
        ) from error
