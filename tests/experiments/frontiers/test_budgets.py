"""Budgets: what seconds come to in samples, the fitted schedule, the point of the grid that is chosen."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.errors import UsageError
from catlipctl.experiments.frontiers.budgets import Budget, Tuned, budgets, fitted, grid
from catlipctl.experiments.frontiers.methods import Method
from catlipctl.experiments.frontiers.result import GridPoint, Mean, chosen, reached
from catlipctl.experiments.frontiers.timing import Timing
from catlipctl.recipe import load
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.steps import planned


def timing(*rounds: float) -> Timing:
    return Timing(rounds=list(rounds), cores=[2.0] * len(rounds))


@given(st.integers(1, 10_000), st.integers(1, 500), st.integers(1, 400))
def test_seconds_are_as_many_whole_steps_as_they_are_enough_for(seconds: int, step: int, batch: int) -> None:
    """A step of `step` 64ths of a second: all numbers are exact in binary where batch is a power of two."""
    batch = 2 ** (batch % 9)
    found = timing(step / 64 / batch).samples(seconds, batch)
    assert found == max(1, int(Fraction(seconds * 64, step))) * batch


def test_a_timing_is_the_median_of_its_rounds() -> None:
    found = Timing(rounds=[0.2, 0.1, 0.4], cores=[1.0, 2.0, 1.5])
    assert (found.seconds_per_sample, found.spread) == (0.2, pytest.approx(1.5))
    assert found.cpu_seconds_per_sample == pytest.approx(0.2)


def test_budgets_are_read_with_their_units() -> None:
    assert [(one.name, one.unit, one.amount) for one in budgets("2m,30s, 0.5h")] == [
        ("30s", "seconds", 30),
        ("2m", "seconds", 120),
        ("0.5h", "seconds", 1800),
    ]
    assert [(one.unit, one.amount) for one in budgets("5000,100")] == [("samples", 100), ("samples", 5000)]
    assert budgets("own")[0].unit == "own"
    for text in ("", "0s", "30s,60", "1.5", "60s,1m", "own,30s", "-3s", "1d"):
        with pytest.raises(UsageError):
            budgets(text)


def test_the_grid_has_every_rate_with_every_decay() -> None:
    assert grid("1e-3,2e-3", "0,0.1") == [(1e-3, 0), (1e-3, 0.1), (2e-3, 0), (2e-3, 0.1)]
    assert len({one.lr for one in grid(None, None)}) >= 4
    assert len({one.weight_decay for one in grid(None, None)}) >= 2
    assert grid(None, None, own=True) == []
    assert grid("1e-3", "0.1", own=True) == [Tuned(1e-3, 0.1)]
    with pytest.raises(UsageError, match="--lr"):
        grid("fast", None)


@pytest.mark.parametrize(
    "length", ["length={samples: 64000}", "length={steps: 1000}", "length={epochs: 128}", "length.steps=1000"]
)
def test_the_warm_up_has_the_share_of_the_steps_that_it_had(length: str) -> None:
    """Of a thousand steps a hundred; sources of 500 samples."""
    method = Method.parse(f"demo:{length}:global_batch_size=64:schedule.warmup_steps=100")
    for seconds, steps in ((1, 10), (7, 70), (123, 1230)):
        budget = Budget.parse(f"{seconds}s")
        recipe = method.changed(*fitted(method, budget, timing(0.1 / 64 * (1 - 1e-9)), 500)).value
        schedule = planned(recipe, recipe.model.image_size)
        assert schedule is not None
        assert len(schedule) == steps
        assert recipe.schedule.warmup_steps == round(steps / 10)
    untouched = method.changed(*fitted(method, Budget.parse("own"), None, 500)).value
    assert untouched == load(PretrainRecipe, method.path, method.overrides).value


RATES = st.sampled_from([1e-3, 2e-3, 4e-3])


@given(
    st.lists(
        st.tuples(RATES, st.sampled_from([0.0, 0.1]), st.none() | st.integers(0, 5)),
        max_size=6,
        unique_by=lambda point: point[:2],
    )
)
def test_the_chosen_point_has_the_best_score_and_is_told_where_it_is_at_the_edge(
    points: list[tuple[float, float, int | None]],
) -> None:
    tried = [GridPoint(lr=lr, weight_decay=decay, score=s, scores={}) for lr, decay, s in points]
    found, edges = chosen(tried)
    scored = {(lr, decay): score for lr, decay, score in points if score is not None}
    if not scored:
        assert found is None
        return
    assert found is not None
    assert scored[found] == max(scored.values())
    assert found == next(at for at, score in scored.items() if score == max(scored.values()))
    rates = {lr for lr, _, _ in points}
    assert ("lr" in edges) == (len(rates) == 3 and found.lr in (1e-3, 4e-3))
    # Of two decays each one is an edge: that says nothing.
    assert "weight_decay" not in edges


def test_the_target_is_reached_by_the_cheapest_budget_and_ratios_are_of_rounds() -> None:
    def mean(method: str, budget: str, figure: float, seconds: float, samples: float) -> Mean:
        costs = {"seconds": seconds, "samples": samples}
        rest = {"measure": "top-1", "interval": None, "chance": 0.1, "seeds": [0], "cpu_seconds": None}
        return Mean(
            method=method, budget=budget, probe="pets", figure=figure, costs=costs, seconds=seconds, **rest
        )

    means = [
        mean("first", "60s", 0.5, 60, 600),
        mean("first", "30s", 0.4, 30, 300),
        mean("fast", "30s", 0.51, 30, 900),
        mean("fast", "60s", 0.6, 60, 1800),
        mean("never", "60s", 0.45, 60, 600),
    ]
    timings = {
        "first": timing(0.1, 0.2, 0.1),
        "fast": timing(0.1 / 3, 0.1 / 3, 0.05),
        "never": timing(0.1, 0.1, 0.1),
    }
    first, fast, never = reached(means, timings, {"pets": 0.5})
    assert (first.budget, first.seconds, first.times_as_fast) == ("60s", 60, 1)
    assert (fast.budget, fast.seconds) == ("30s", 30)
    # 60, 120 and 60 seconds against 30, 30 and 45.
    assert fast.times_as_fast == pytest.approx(2)
    assert fast.range == pytest.approx((60 / 45, 4))
    assert (never.budget, never.times_as_fast) == (None, None)
