"""What a figure shows, by its structure."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def drawn() -> Callable[[Any, str], tuple[list[float], list[float]]]:
    """The points of the figure's line of that gid."""

    def points(figure: Any, gid: str) -> tuple[list[float], list[float]]:
        (line,) = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid() == gid]
        return list(line.get_xdata()), list(line.get_ydata())

    return points


@pytest.fixture(scope="session")
def written() -> Callable[[Any], list[str]]:
    """All that stands in the figure but its ticks: titles, labels beside points, legends."""

    def texts(figure: Any) -> list[str]:
        found = [text.get_text() for axes in figure.axes for text in axes.texts]
        found += [axes.get_title(loc="left") for axes in figure.axes]
        legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
        return found + [text.get_text() for legend in legends for text in legend.get_texts()]

    return texts
