"""What processes really send in a step, and how fast: to hold the model of `communication` against."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from catlipctl.bench.communication import Collective, Kind, Network
from catlipctl.bench.result import Spread
from catlipctl.bench.spans import Contestant
from catlipctl.training.world import World

NAMES: dict[str, Kind] = {
    "allreduce_": "all-reduce",
    "_allgather_base_": "all-gather",
    "allgather_": "all-gather",
    "broadcast_": "broadcast",
    "send": "exchange",
}
"""torch's operators; what is received is counted by whoever sent it."""
SIZES = (2**12, 2**16, 2**20, 2**23, 25 * 2**20)
"""Bytes of the all-reduces by which links are measured: the last are DDP's buckets."""
TRIES = 9


class Recorder(TorchDispatchMode):
    """Notes each collective that is called inside it, by torch itself too."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Collective] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            name = func._opname
            if name in NAMES:
                # A gather's first argument is what it fills.
                given = args[1] if NAMES[name] == "all-gather" else args[0]
                tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
                size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
                self.found.append(Collective(NAMES[name], size, name))
        return func(*args, **(kwargs or {}))


def recorded(contestant: Contestant) -> list[Collective]:
    """What this process sends in a step."""
    with Recorder() as recorder:
        contestant.step(lambda _: None)
    return recorder.found


def measured_network(world: World) -> Network:
    """Bandwidth and latency of all-reduces of several sizes between these processes, by a straight line."""
    steps, sent, seconds = [], [], []
    for size in SIZES:
        tensor = torch.zeros(size // 4, device=world.device)
        collective = Collective("all-reduce", size, "")
        seconds.append(_median(lambda tensor=tensor: dist.all_reduce(tensor), world))  # type: ignore[misc]
        steps.append(collective.messages(world.size))
        sent.append(collective.sent(world.size))
    # Weighed by their own size: a small message counts as much as a large one.
    table = np.array([steps, sent]).T / np.array(seconds)[:, None]
    latency, per_byte = np.linalg.lstsq(table, np.ones(len(seconds)), rcond=None)[0]
    backend = dist.get_backend()
    return Network(
        bandwidth=float(1 / max(per_byte, 1e-15)),
        latency=float(max(latency, 0)),
        source=f"measured: {backend} between {world.size} processes",
    )


def seconds_alone(sent: list[Collective], world: World) -> Spread:
    """Seconds of these collectives, one after the other, while the processes do nothing else."""
    calls = [_call(collective, world) for collective in sent]

    def once() -> None:
        for call in calls:
            call()

    return Spread.of(_times(once, world))


def _call(collective: Collective, world: World) -> Callable[[], Any]:
    tensor = torch.zeros(max(1, collective.bytes // 4), device=world.device)
    if collective.kind == "all-reduce":
        return lambda: dist.all_reduce(tensor)
    if collective.kind == "broadcast":
        return lambda: dist.broadcast(tensor, 0)
    if collective.kind == "all-gather":
        joined = tensor.new_empty(world.size * len(tensor))
        return lambda: dist.all_gather_into_tensor(joined, tensor)
    other = torch.empty_like(tensor)
    after, before = (world.rank + 1) % world.size, (world.rank - 1) % world.size

    def exchange() -> None:
        pairs = [dist.P2POp(dist.isend, tensor, after), dist.P2POp(dist.irecv, other, before)]
        for work in dist.batch_isend_irecv(pairs):
            work.wait()

    return exchange


def _median(call: Callable[[], Any], world: World) -> float:
    return float(np.median(_times(call, world)))


def _times(call: Callable[[], Any], world: World) -> list[float]:
    """Seconds of each try but the first, of the slowest process."""
    found = []
    for _ in range(TRIES + 1):
        world.wait()
        begun = time.perf_counter()
        call()
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        found.append(int(1e9 * (time.perf_counter() - begun)))
    return [slowest / 1e9 for slowest in world.maximum(*found)[1:]]
