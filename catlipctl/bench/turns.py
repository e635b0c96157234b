"""Several ways to do the same, timed in turns: whatever else the machine does meanwhile hits all alike."""

import time
from collections.abc import Callable, Mapping

import torch

from catlipctl.progress import Progress

SECONDS = 1.0
"""Of a turn, about."""

Way = Callable[[int], None]
"""Does its work so many times."""


def in_turns(
    ways: Mapping[str, Way], rounds: int, device: torch.device, progress: Progress, *, fewest: int = 1
) -> dict[str, list[float]]:
    """Seconds of the work once, by way, of each round; every other round is in the other order.

    On a CPU these are seconds of all cores together, whatever else runs there; with one thread they are the
    clock's on an idle machine. rounds: rounded up to an even number. fewest: times that a turn does its work,
    at least. Before that each way has had one turn, which compiles and warms up.
    """
    for way in ways.values():
        way(fewest)
    times = max(fewest, int(SECONDS / min(_timed(way, fewest, device) for way in ways.values())))
    taken: dict[str, list[float]] = {name: [] for name in ways}
    count = rounds + rounds % 2
    with progress.task("turns of all", total=count, unit="rounds") as task:
        for number in range(count):
            for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
                taken[name].append(_timed(ways[name], times, device))
            task.advance()
    return taken


def _timed(way: Way, times: int, device: torch.device) -> float:
    """Seconds of the work once: on a CPU those that cores were at it, else by the clock, until it is done."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    _finish(device)
    start = clock()
    way(times)
    _finish(device)
    return max(clock() - start, 1e-9) / times


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
