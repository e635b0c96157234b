"""What runs the counting of shards: this process, processes of this machine, or a Ray cluster.

All run the same function on the same shards and give its results as they come; this is all that differs.
"""

import logging
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

from catlipctl import signals
from catlipctl.errors import MachineError, OutOfMemory
from catlipctl.results import cores

if TYPE_CHECKING:
    from catlipctl.data.caption_shards import CaptionShard

Tick = Callable[[int], None]
Work = Callable[["CaptionShard", Tick], bytes]
Results = Iterator[tuple["CaptionShard", bytes]]
Engine = Literal["processes", "ray"]

_IN_FLIGHT = 2
"""Shards a worker: one under way, one that waits for it."""
_POLL_SECONDS = 0.25
_KNOCK_SECONDS = 10


def run(
    engine: Engine, work: Work, shards: "Sequence[CaptionShard]", workers: int | None, tick: Tick
) -> Results:
    """`work` of each shard, in the order in which they are finished.

    workers: how many shards at once (default: the cores of the machine, or of the cluster).
    tick: called as captions are counted, where the engine can tell before a shard is finished.

    Raises:
        OutOfMemory: a worker was killed. MachineError: Ray is not installed, or does not answer.
    """
    if engine == "ray":
        return _on_ray(work, shards, workers, tick)
    workers = min(workers or cores(), len(shards))
    return _here(work, shards, tick) if workers <= 1 else _in_processes(work, shards, workers, tick)


def _here(work: Work, shards: "Sequence[CaptionShard]", tick: Tick) -> Results:
    for shard in shards:
        yield shard, work(shard, tick)


def _in_processes(work: Work, shards: "Sequence[CaptionShard]", workers: int, tick: Tick) -> Results:
    # Spawned: a progress bar draws in a thread, and a fork beside threads may hang.
    context = multiprocessing.get_context("spawn")
    counted = context.Value("q", 0)
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _begin, (counted, theirs))
    waiting, running = iter(shards), dict[Future[bytes], "CaptionShard"]()
    ticked = 0
    try:
        while True:
            for shard in islice(waiting, workers * _IN_FLIGHT - len(running)):
                with signals.withheld():
                    running[pool.submit(_run, work, shard)] = shard
            if not running:
                break
            done, _ = wait(running, _POLL_SECONDS, FIRST_COMPLETED)
            # Not locked: a worker that was killed may hold the lock.
            ticked, before = counted.get_obj().value, ticked
            tick(ticked - before)
            for future in sorted(done, key=lambda future: future.exception() is not None):
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise _killed() from error
    finally:
        if running:
            ours.close()
        pool.shutdown(cancel_futures=True)
        ours.close()


_counted: Any = None


def _begin(counted: Any, main: Connection) -> None:
    """A worker's start: it ends when the main process does, or wants no more of it."""
    global _counted
    _counted = counted
    signals.serve()

    def end_when_told() -> None:
        # Nothing is ever sent: this returns when the other end is closed.
        main.poll(None)
        os._exit(1)

    threading.Thread(target=end_when_told, daemon=True).start()


def _run(work: Work, shard: "CaptionShard") -> bytes:
    return work(shard, _tick)


def _tick(captions: int) -> None:
    with _counted.get_lock():
        _counted.value += captions


def _on_ray(work: Work, shards: "Sequence[CaptionShard]", workers: int | None, tick: Tick) -> Results:
    ray, already = _connected(workers)
    try:
        remote = ray.remote(num_cpus=1)(_run_silently)
        workers = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        waiting, running = iter(shards), dict[Any, "CaptionShard"]()
        while True:
            for shard in islice(waiting, workers * _IN_FLIGHT - len(running)):
                running[remote.remote(work, shard)] = shard
            if not running:
                break
            done, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
            tick(0)
            for reference in done:
                yield running.pop(reference), ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise _killed() from error
    finally:
        if not already:
            ray.shutdown()


def _run_silently(work: Work, shard: "CaptionShard") -> bytes:
    return work(shard, lambda _: None)


def _connected(workers: int | None) -> tuple[Any, bool]:
    """Ray, connected to the cluster of RAY_ADDRESS or of this machine; else one is started here.

    And whether the caller had connected it already.
    """
    try:
        import ray
    except ImportError as error:
        raise MachineError("Ray is not installed", "pip install 'catlipctl[ray]'") from error
    if ray.is_initialized():
        return ray, True
    address = os.environ.get("RAY_ADDRESS", "")
    _refuse_unanswered(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init("auto", **quiet)
    except ConnectionError as error:
        if address:
            raise _unanswered(address) from error
        # Nobody asked for a network: usage is not reported, and no dashboard listens.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=workers or cores(), include_dashboard=False, **quiet)
    return ray, False


def _refuse_unanswered(address: str) -> None:
    """Raise MachineError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _unanswered(address) from error


def _unanswered(address: str) -> MachineError:
    return MachineError(
        f"no Ray cluster answers at RAY_ADDRESS={address}",
        "start it, mend the address, or unset it to count on this machine",
    )


def _killed() -> OutOfMemory:
    """A worker ended without a word: the system kills whoever takes the last memory."""
    return OutOfMemory(
        "a worker was killed, most likely because memory ran out; the shards that were finished are kept",
        "run the same command again to go on, with fewer --workers if memory was short",
    )
