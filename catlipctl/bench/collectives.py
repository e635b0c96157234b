"""What processes really send in a step, and how fast: to hold the model of `communication` against."""

import time
from collections.abc import Callable, Mapping, Sequence
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
TRIES = 11


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


def measured(sent: Mapping[str, Sequence[Collective]], world: World) -> tuple[Network, dict[str, Spread]]:
    """The links between these processes, and seconds of each of `sent`, its collectives one after the other.

    The processes do nothing else. Links are told by all-reduces of several sizes, by a straight line. All are
    timed in turns, so that whatever else the machine does hits all alike.
    """
    links = [Collective("all-reduce", size, "") for size in SIZES]
    ways = [*([link] for link in links), *sent.values()]
    calls = [[_call(collective, world) for collective in way] for way in ways]
    found: list[list[float]] = [[] for _ in ways]
    for _ in range(TRIES + 1):
        for way, seconds in zip(calls, found, strict=True):
            seconds.append(_timed(way, world))
    # The first try makes connections.
    spreads = [Spread.of(seconds[1:]) for seconds in found]
    of_links = [spread.median for spread in spreads[: len(links)]]
    return _network(links, of_links, world), dict(zip(sent, spreads[len(links) :], strict=True))


def _network(links: Sequence[Collective], seconds: Sequence[float], world: World) -> Network:
    # Weighed by their own time: a small message counts as much as a large one.
    table = np.array([[link.messages(world.size), link.sent(world.size)] for link in links])
    weighed = table / np.array(seconds)[:, None]
    latency, per_byte = np.linalg.lstsq(weighed, np.ones(len(links)), rcond=None)[0]
    return Network(
        bandwidth=float(1 / max(per_byte, 1e-15)),
        latency=float(max(latency, 0)),
        source=f"measured: {dist.get_backend()} between {world.size} processes",
    )


def _timed(calls: Sequence[Callable[[], Any]], world: World) -> float:
    """Seconds of all calls, of the slowest process."""
    world.wait()
    begun = time.perf_counter()
    for call in calls:
        call()
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    return world.maximum(int(1e9 * (time.perf_counter() - begun)))[0] / 1e9


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
