"""What a run will take, before it is started: memory by a rehearsal without numbers, and a device's speed."""

import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from catlipctl.data.batch import Batch, Step
from catlipctl.errors import CatlipctlError
from catlipctl.objectives import Objective
from catlipctl.pretraining.assembly import make_objective
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import Sharding, TrainingSettings
from catlipctl.training.distribution import size, units
from catlipctl.training.launch import Devices
from catlipctl.training.learner import checkpoint_activations
from catlipctl.training.world import World

PEAK_FLOPS = 989e12
"""Of an H100 in bfloat16, dense: what its data sheet states."""
UTILISATION = 0.4
"""Of that peak, or of the speed at which this machine multiplies matrices: what a step reaches of it.

Measured on two CPU cores: 0.56 for ViT-S/16 at 224 px, 0.24 for a ResNet-10 at 32 px.
"""
SHARED = Path("/dev/shm")
AUGMENTED = 7
"""Copies of the images in float32 that RangeAugment keeps for its backward pass, and makes on the way."""
BYTES = 4
"""Of a weight, a gradient or a moment: they are float32 whatever the precision of a step."""


class Pieces(NamedTuple):
    """How a process takes its steps.

    size: the largest, pixels a side. rows: images at once at the model's own size. pieces: of a step.
    processes: that train together. steps: of the run.
    """

    size: int
    rows: int
    pieces: int
    processes: int
    steps: int


def memory(
    recipe: PretrainRecipe, outputs: int, step: Pieces, devices: Devices | None
) -> dict[str, int] | None:
    """Bytes that a training process takes at its peak, by what they are for; they add up.

    None for a tower that no rehearsal can run. outputs: of the head. devices: None for GPUs elsewhere.
    Activations, gradients and what is computed on the way are rehearsed. A CPU's allocator keeps more than is
    in use; what the libraries take there is what they take now. UsageError for activation checkpointing that
    the tower does not know.
    """
    # Native at the one size. What RangeAugment draws are numbers, which a rehearsal has not.
    native = recipe.model.model_copy(update={"image_size": step.size})
    plain = recipe.model_copy(update={"model": native, "sizes": None, "range_augment": None})
    augmented = recipe.range_augment is not None
    return needed(
        recipe,
        lambda: make_objective(plain, outputs, lambda _: [], step.steps),
        step,
        recipe.model.image_size,
        devices,
        augmented=augmented,
    )


def needed(
    recipe: TrainingSettings,
    make: Callable[[], Objective],
    step: Pieces,
    base: int,
    devices: Devices | None,
    *,
    augmented: bool,
) -> dict[str, int] | None:
    """As `memory` has it, of any task.

    make: the objective at the step's size, without RangeAugment; on the meta device. base: the tower's own
    size. augmented: by RangeAugment.
    """
    token_drop, whole = recipe.token_drop()
    device = "cpu" if devices is not None and devices.cpu else "cuda"
    low = recipe.precision == "bfloat16" or (recipe.precision == "auto" and device == "cuda")
    rows = step.rows
    if recipe.sizes is not None and recipe.sizes.batch == "area":
        rows = max(1, rows * base * base // step.size**2)
    pixels = rows * 3 * step.size**2
    try:
        with torch.device("meta"):
            objective = make()
        if recipe.activation_checkpointing:
            checkpoint_activations(objective)
        learned = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        share = learned / sum(p.numel() for p in objective.parameters())
        held, gathered = spread_over(objective, recipe.sharding, step.processes)
        precision = torch.bfloat16 if low else torch.float32
        dropped = 0.0 if whole else token_drop
        computed = rehearsed(objective, step.size, rows, min(step.pieces, 2), precision, dropped)
    except CatlipctlError:
        raise
    except Exception:  # towers do what they like, and some of it needs numbers
        return None
    return {
        "weights": held,
        "moments": int(2 * held * share),
        "average": held if recipe.ema.momentum is not None else 0,
        "buckets": gathered,
        "activations and gradients": computed,
        "range_augment": AUGMENTED * BYTES * pixels if augmented else 0,
        # On a GPU the next step's are under way meanwhile.
        "images": step.pieces * pixels * (2 if device == "cuda" else 1),
        "libraries": psutil.Process().memory_info().rss if device == "cpu" else 0,
    }


def spread_over(objective: Objective, sharding: Sharding, processes: int) -> tuple[int, int]:
    """Bytes that each process holds of the weights, and of what it keeps beside for sending and gathering.

    Sharded, two blocks are gathered at once, and what is in no block. Of the gradients nothing is taken off:
    under accumulation each process has all of its own.
    """
    whole = BYTES * size(objective)
    if processes == 1:
        return whole, 0
    if sharding == "none":
        return whole, whole  # DDP keeps gradients in buckets
    shards = processes if sharding == "full" else int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    alone = sorted(BYTES * size(unit) for unit in units(objective))
    return -(-whole // shards), whole - sum(alone[:-2])


def rehearsed(
    objective: Objective, size: int, rows: int, pieces: int, precision: torch.dtype, token_drop: float = 0.0
) -> int:
    """The most bytes alive at once that forward and backward passes of so many pieces make.

    On tensors that have shapes, types and a device, and no numbers. The second piece finds the gradients of
    the first one. objective: on the meta device; it is of no use afterwards.
    """
    positions = torch.arange(rows)
    # What the preprocessing remembers must have numbers: who trains in this process later meets it again.
    objective.tower.preprocessing.standardised(torch.zeros(1, 3, 1, 1))
    with FakeTensorMode(allow_non_fake_inputs=True):
        objective.to_empty(device="cpu").train()
        batch = Batch(
            step=Step(0, size, rows, 0, token_drop),
            images=torch.zeros((rows, 3, size, size), dtype=torch.uint8),
            targets=objective.stand_ins(rows),
            positions=positions,
            samples=positions,
            counted=rows,
        )
        with Alive() as alive:
            for _ in range(pieces):
                with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                    loss = objective(batch).loss
                loss.backward()
                del loss
    return alive.most


class Alive(TorchDispatchMode):
    """Counts the bytes of what operations make inside it, for as long as it lives. most: at once.

    known: tensors of which what shares their memory does not count.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self.most = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._sizes or storage._cdata in self._known:
            return
        self._sizes[storage._cdata] = storage.nbytes()
        self._now += storage.nbytes()
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, storage._cdata)

    def _forget(self, identity: int) -> None:
        self._now -= self._sizes.pop(identity)


def measured(
    device: torch.device, precision: torch.dtype, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Operations a second at which a device multiplies large matrices: the best of a few tries.

    clock: what seconds are told by.
    """
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.ones((side, side), device=device, dtype=precision) for _ in range(2))
    taken = []
    for _ in range(4):
        _finish(device)
        start = clock()
        a @ b
        _finish(device)
        taken.append(clock() - start)
    return 2 * side**3 / min(taken)


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)


class Speed(NamedTuple):
    device: str
    flops: float


def speed(recipe: TrainingSettings, devices: Devices | None, processes: int) -> Speed:
    """At which the devices multiply matrices: measured where they are here, else an H100's, stated."""
    if devices is None:
        return Speed("H100, as its data sheet states", PEAK_FLOPS * processes)
    world = World(cpu=devices.cpu)
    try:
        precision = world.precision(recipe.precision)
    except CatlipctlError:
        precision = torch.float32
    if world.device.type == "cpu":
        # All processes share its cores.
        return Speed("this CPU, measured", measured(world.device, precision))
    name = torch.get_device_module(world.device).get_device_name()
    return Speed(f"{name}, measured", measured(world.device, precision) * processes)


def shortages(
    memory: dict[str, int] | None, shared: int, processes: int, devices: Devices | None, workers_key: str
) -> list[str]:
    """Warnings of memory that this machine has not, and of what could not be estimated."""
    if memory is None:
        return ["the tower's memory cannot be estimated: see --probe"]
    if devices is None:
        return []
    short, needed = [], sum(memory.values())
    if devices.cpu:
        needed, has = needed * processes, psutil.virtual_memory().total
    else:
        has = torch.cuda.get_device_properties(0).total_memory
    if needed > has:
        short.append(
            f"training needs about {needed / 2**30:,.1f} GiB, and this machine has {has / 2**30:,.1f} GiB: "
            "set device_batch_size lower"
        )
    free = shutil.disk_usage(SHARED).free if SHARED.is_dir() else None
    if free is not None and processes * shared > free:
        short.append(
            f"the loaders' workers hold up to {processes * shared / 2**20:,.0f} MiB of shared memory, "
            f"and {SHARED} has {free / 2**20:,.0f} MiB free: set {workers_key} lower"
        )
    return short
