"""What a figure shows, by its structure."""

from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from catlipctl.bench.result import Ratio, Spread
from catlipctl.bench.step_result import Device, StepBenchmark, StepCase, StepRow

VOID = {"meta", "img", "source"}


def step_benchmark(
    parts: Mapping[str, Mapping[str, float]], steps: Mapping[str, Sequence[float]]
) -> StepBenchmark:
    """The result of `bench step`: of each objective the seconds of its parts, and of whole steps."""

    def exactly(seconds: float) -> Spread:
        return Spread(median=seconds, low=seconds, high=seconds)

    rows = [
        StepRow(
            name=name,
            objective=name,
            kind="ours",
            context=None,
            step=Spread.of(steps[name]),
            phases={},
            parts={part: exactly(seconds) for part, seconds in of_one.items()},
            images_per_second=1,
            utilisation=0.5,
            parameters=1,
            flops={},
            flops_per_sample=1,
            peak_memory_bytes=1,
            state_bytes=1,
            host=None,
            traffic=None,
            largest=None,
            steps=list(steps[name]),
            rounds=[{f"forward, {part}": seconds for part, seconds in of_one.items()} for _ in steps[name]],
        )
        for name, of_one in parts.items()
    ]
    first, *others = rows
    return StepBenchmark(
        protocol="step",
        device="cpu",
        clock="core time",
        processes=1,
        classes=10,
        optimiser={},
        compiled=False,
        activation_checkpointing=False,
        ema=False,
        captions="",
        network=None,
        cases=[
            StepCase(
                model="ViT-S-16",
                image_size=32,
                precision="float32",
                batch_size=8,
                rows=rows,
                ratios={
                    row.name: Ratio.of([a / b for a, b in zip(row.steps, first.steps, strict=True)])
                    for row in others
                },
                plain={},
                explained={},
                device=Device(products=1e9, peak=None, peak_of=None),
                recompiled=0,
                estimates=[],
                answers={},
            )
        ],
    )


class Reader(HTMLParser):
    """Collects the text of each element and every attribute; fails where a tag is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tables: list[list[list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="session")
def read() -> Callable[[str], Reader]:
    """A page as a parser that we did not write reads it."""

    def parsed(text: str) -> Reader:
        reader = Reader()
        reader.feed(text)
        reader.close()
        assert reader.open == []
        return reader

    return parsed


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
        legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()] + figure.legends
        return found + [text.get_text() for legend in legends for text in legend.get_texts()]

    return texts
