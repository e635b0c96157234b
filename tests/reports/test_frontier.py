"""The Pareto front against its definition, and what the figure draws."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.reports.frontier import Dot, front, frontier

FEW = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(FEW, FEW), max_size=12))
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    def dominated(cost: float, figure: float) -> bool:
        return any(
            other <= cost and better >= figure and (other, better) != (cost, figure)
            for other, better in points
        )

    found = front(points)
    assert sorted(found) == [at for at, point in enumerate(points) if not dominated(*point)]
    assert [points[at][0] for at in found] == sorted(points[at][0] for at in found)


def test_the_figure_draws_each_method_and_the_front_below() -> None:
    pytest.importorskip("matplotlib")
    dots = [
        Dot(name, {"seconds": cost, "samples": 10 * cost}, figure, (figure - 0.1, figure + 0.1))
        for name, cost, figure in (("a", 10.0, 0.2), ("a", 20.0, 0.3), ("b", 10.0, 0.4), ("b", 40.0, 0.5))
    ]
    figure = frontier(dots, "pets, top-1", "Accuracy against cost")
    # FLOPs are not known, so they have no panel.
    assert [axes.get_xlabel().split()[0] for axes in figure.axes] == ["seconds", "pairs"]
    for axes, scale in zip(figure.axes, (1, 10), strict=True):
        drawn: dict[Any, Any] = {line.get_gid(): line.get_xydata().tolist() for line in axes.get_lines()}
        assert drawn["a"] == [[10 * scale, 0.2], [20 * scale, 0.3]]
        assert drawn["front"] == [[10 * scale, 0.4], [40 * scale, 0.5], [40 * scale, 0.5]]
        assert axes.get_xscale() == "log"
