"""Workers: results in order, errors as they were raised, and silence at signals."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import count, islice

import pytest

from catlipctl.data.workers import ahead, portable
from catlipctl.errors import DataError, OutOfMemory


def square_below_ten(value: int) -> int:
    if value >= 10:
        raise DataError(f"{value} is too large", "choose a smaller one")
    return value * value


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order_then_the_error_as_it_was_raised(workers: int) -> None:
    results = ahead(square_below_ten, count(), workers=workers)
    assert list(islice(results, 10)) == [i * i for i in range(10)]
    with pytest.raises(DataError) as caught:
        next(results)
    assert (caught.value.message, caught.value.hint) == ("10 is too large", "choose a smaller one")


def failing(error: Exception) -> None:
    raise error


class Unportable(OSError):
    def __init__(self, message: str, stream: object) -> None:
        super().__init__(message)
        self.stream = stream


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "shard.tar"), MemoryError("no more")])
def test_an_error_of_the_system_comes_as_it_was_raised(error: Exception, workers: int) -> None:
    with pytest.raises(type(error)) as caught:
        next(ahead(failing, [error], workers=workers))
    assert (type(caught.value), str(caught.value)) == (type(error), str(error))


def test_an_error_that_cannot_travel_says_what_it_was() -> None:
    found = portable(Unportable("gone", lambda: None))
    assert (type(found), str(found)) == (OSError, "Unportable: gone")


SCRIPT = """
import signal, sys, time
from itertools import count
from catlipctl.data.workers import ahead, in_thread
from catlipctl.signals import HANDLED

def slowly(value):
    time.sleep(0.01)
    return value

stop = []
for number in HANDLED:
    signal.signal(number, lambda *_: stop.append(1))
values = ahead(slowly, count(), workers=2)
for value in in_thread(values) if sys.argv[1] == "in_thread" else values:
    if value == 0:
        print("ready", flush=True)
    if stop and value > 50:
        break
print("saved", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("SIGINT", "here"),
        ("SIGTERM", "in_thread"),  # as on a GPU: the workers are a thread's children
        ("SIGUSR1", "here"),
        ("SIGHUP", "in_thread"),
        ("SIGQUIT", "here"),
    ],
)
def test_a_signal_to_the_whole_group_is_answered_by_the_main_process_alone(name: str, place: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, place],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "saved\n", "")


STUCK = """
import time
from itertools import count
from catlipctl.data.workers import ahead

def stuck(value):
    time.sleep(1000 * value)
    return value

values = ahead(stuck, count(), workers=1)
print(next(values), flush=True)
"""


def test_a_worker_that_hears_no_signal_of_others_is_ended_by_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "0\n"


LARGER_THAN_A_PIPE = 4 * 2**20


def large(value: int) -> bytes:
    return bytes(LARGER_THAN_A_PIPE) if value >= 0 else b""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("which", [0, -1])
def test_a_worker_killed_while_it_writes_a_result_is_told(workers: int, which: int) -> None:
    others = multiprocessing.active_children()
    values = ahead(large, count(), workers=workers)
    next(values)
    time.sleep(0.5)  # nobody reads: one worker waits in the midst of a result, the others for their turn
    ours = [child for child in multiprocessing.active_children() if child not in others]
    victim = sorted(ours, key=lambda child: child.pid or 0)[which]
    victim.kill()
    with pytest.raises(OutOfMemory, match="a loader's worker process was killed"):
        list(islice(values, 20))


def test_the_end_of_one_loader_ends_no_other() -> None:
    others = ahead(square_below_ten, count(), workers=2)
    assert next(others) == 0
    for _ in range(3):
        assert list(ahead(square_below_ten, range(9), workers=2)) == [n * n for n in range(9)]
        started = ahead(large, count(), workers=2)
        next(started)
        del started
    assert next(others) == 1
