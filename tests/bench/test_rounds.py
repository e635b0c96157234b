"""Ratios are of pairs, their intervals cover what they should, and parts sum up to them."""

import numpy as np
import pytest

from catlipctl.bench.result import Ratio
from catlipctl.bench.rounds import Round, Side, Taken, explained, ratio, rounds, take, with_communication
from catlipctl.bench.spans import HEAD, IMAGE, TEXT, Mark, Span
from catlipctl.progress import SILENT
from catlipctl.training.world import World

from .test_protocols import row


def taken(seconds: float) -> Taken:
    return Taken(seconds, {Span("forward", IMAGE): seconds})


def test_ratios_are_of_pairs() -> None:
    found: list[Round] = [{"a": taken(x), "b": taken(3 * x)} for x in (1.0, 5.0, 90.0)]
    whole = ratio(found, "b", "a")
    assert (whole.median, whole.low, whole.high) == pytest.approx((3, 3, 3))


def test_an_interval_covers_the_median_of_where_ratios_come_from() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        found = Ratio.of(list(generator.lognormal(np.log(1.4), 0.05, 24)))
        assert found.low <= found.median <= found.high
        covered += found.low <= 1.4 <= found.high
    assert 0.88 <= covered / 200 <= 1


class Clock:
    """Steps without work, and notes who stepped when."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def step(self, mark: Mark) -> float:
        self.told.append(self.name)
        mark(Span("forward", IMAGE))
        return 0.0


def test_each_order_is_taken_as_often_as_the_other() -> None:
    told: list[str] = []
    sides = {name: Side(Clock(name, told)) for name in "abc"}  # type: ignore[arg-type]
    world = World(cpu=True)
    warm = take(sides, "abc", world)
    found = rounds(sides, 3, warm, world, SILENT)
    assert "".join(told) == "abc" + "abccba" * 2
    assert len(found) == 4


def test_communication_is_what_a_step_takes_longer_than_alone() -> None:
    of_one = Taken(1.5, {Span("forward", IMAGE): 0.8, Span("backward", HEAD): 0.3})
    parts = {IMAGE: 0.8, HEAD: 0.3}
    found = with_communication(parts, of_one, alone=True)
    assert found == {**parts, "communication": pytest.approx(0.4)}
    assert with_communication(parts, of_one, alone=False) == parts


def test_parts_explain_a_ratio() -> None:
    first, other = row("catlip", 0.1), row("clip", 0.2)
    base = first.step.median
    first.parts = {IMAGE: first.phases["forward"], HEAD: first.phases["loss"]}
    other.parts = {IMAGE: first.phases["forward"], TEXT: other.phases["backward"]}
    found = explained(other, first, Ratio(median=2.0, low=2, high=2))
    assert found[IMAGE] == 0
    assert found[TEXT] == pytest.approx(0.4 / base)
    assert found[HEAD] == pytest.approx(-0.01 / base)
    assert 1 + sum(found.values()) == pytest.approx(2.0)
