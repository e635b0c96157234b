"""Progress of counting, whose total is guessed."""

from types import SimpleNamespace
from typing import Any

from catlipctl.vocabulary.meter import Meter


class Recorded:
    """A task that remembers."""

    done, totals = 0, list[int]()

    def advance(self, amount: int = 1, **fields: float | str) -> None:
        self.done += amount
        self.shards = fields["shards"]

    def expect(self, total: int) -> None:
        self.totals = [*self.totals, total]


def test_the_total_is_guessed_from_the_bytes_of_finished_shards() -> None:
    task, shards = Recorded(), [SimpleNamespace(size=size) for size in (100, 300)]
    meter = Meter(task, shards)  # type: ignore[arg-type]
    meter.tick(30)
    assert (task.done, task.shards, task.totals) == (30, "0/2", [])
    meter.tick(20)
    meter.finish(shards[0], 40)  # type: ignore[arg-type]
    assert (task.done, task.shards, task.totals) == (50, "1/2", [160])
    meter.tick(100)
    meter.finish(shards[1], 110)  # type: ignore[arg-type]
    assert (task.done, task.shards, task.totals) == (150, "2/2", [160, 150])


def test_an_engine_that_cannot_tell_is_known_by_its_finished_shards() -> None:
    task, shards = Recorded(), [SimpleNamespace(size=0) for _ in range(2)]
    meter: Any = Meter(task, shards)  # type: ignore[arg-type]
    meter.finish(shards[0], 7)
    meter.finish(shards[1], 5)
    assert (task.done, task.totals) == (12, [12])
