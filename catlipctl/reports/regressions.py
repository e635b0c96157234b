"""Two results of `bench step` beside each other: what became slower, by objective and part."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, Field

from catlipctl.bench.result import RESAMPLES
from catlipctl.bench.spans import Span, by_part, by_phase
from catlipctl.bench.step_result import COMMUNICATION, StepBenchmark, StepCase, StepRow
from catlipctl.errors import UsageError
from catlipctl.reports.findings import Findings
from catlipctl.reports.style import PALETTE, canvas, numbered
from catlipctl.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = "step"
Verdict = Literal["slower", "faster", "no verdict"]


class Change(BaseModel):
    """One quantity of one objective: the later result's over the earlier one's, medians over rounds.

    interval: of 95 %, by bootstrap over the rounds of each. verdict: where it leaves out 1.
    """

    case: str
    name: str
    part: str
    before: float
    after: float
    ratio: float
    interval: tuple[float, float]
    verdict: Verdict


class Regressions(Result):
    """What both results measured. unlike: what differs in how they were measured, and may be the cause.

    only: cases and objectives that one of them has. files: what was written.
    """

    before: str
    after: str
    changes: list[Change]
    unlike: list[str]
    only: list[str]
    files: list[str] = Field(default_factory=list)


def regressions(findings: Findings, *, seed: int = 0) -> Regressions:
    """Compare two benchmarks, the earlier one named first; UsageError for any other number of them."""
    found = findings.of(StepBenchmark)
    if len(found) != 2:
        raise UsageError(f"{len(found)} benchmarks are compared by two", "name two: compare BEFORE AFTER")
    (first, before), (second, after) = found
    olds, news = _rows(before), _rows(after)
    changes = [change for key in olds if key in news for change in _changes(key, olds[key], news[key], seed)]
    if not changes:
        raise UsageError("the benchmarks have no case and objective in common", "measure the same with both")
    return Regressions(
        before=str(first.path),
        after=str(second.path),
        changes=changes,
        unlike=_unlike(before, after),
        only=[", ".join(key) for key in {**olds, **news} if (key in olds) != (key in news)],
    )


def _rows(benchmark: StepBenchmark) -> dict[tuple[str, str], StepRow]:
    return {(_about(case), row.name): row for case in benchmark.cases for row in case.rows}


def _about(case: StepCase) -> str:
    return f"{case.model}, {case.image_size} px, {case.precision}, {case.batch_size} images"


def _changes(key: tuple[str, str], old: StepRow, new: StepRow, seed: int) -> list[Change]:
    before, after = _seconds(old), _seconds(new)
    return [
        _change(*key, part, before[part], after[part], seed)
        for part in before
        if part in after and min(np.median(before[part]), np.median(after[part])) > 0
    ]


def _seconds(row: StepRow) -> dict[str, list[float]]:
    """Of the step and of each part, or of a plain step each phase: round by round."""
    rounds = [{Span.parse(name): seconds for name, seconds in one.items()} for one in row.rounds]
    parts = [by_part(one) or by_phase(one) for one in rounds]
    found = {STEP: row.steps, **{name: [one[name] for one in parts] for name in parts[0]}}
    if COMMUNICATION in row.parts:
        pairs = zip(row.steps, rounds, strict=True)
        found[COMMUNICATION] = [step - sum(alone.values()) for step, alone in pairs]
    return found


def _change(
    case: str, name: str, part: str, before: Sequence[float], after: Sequence[float], seed: int
) -> Change:
    random = np.random.default_rng(seed)

    def medians(values: Sequence[float]) -> "np.ndarray":
        return np.median(
            np.asarray(values)[random.integers(0, len(values), (RESAMPLES, len(values)))], axis=1
        )

    low, high = np.percentile(medians(after) / medians(before), (2.5, 97.5))
    old, new = float(np.median(before)), float(np.median(after))
    verdict: Verdict = "slower" if low > 1 else "faster" if high < 1 else "no verdict"
    interval = (float(low), float(high))
    return Change(
        case=case,
        name=name,
        part=part,
        before=old,
        after=new,
        ratio=new / old,
        interval=interval,
        verdict=verdict,
    )


def _unlike(before: StepBenchmark, after: StepBenchmark) -> list[str]:
    """What was not the same when they were measured, in words."""
    found = []
    for name in (
        "device",
        "clock",
        "processes",
        "classes",
        "captions",
        "compiled",
        "activation_checkpointing",
        "ema",
        "optimiser",
        "revision",
    ):
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            found.append(f"{name}: {one}, then {other}")
    for name in ("machine", "versions", "clocks"):
        one, other = getattr(before, name), getattr(after, name)
        keys = (key for key in {**one, **other} if one.get(key) != other.get(key))
        found += [f"{key}: {one.get(key)}, then {other.get(key)}" for key in keys]
    return found


def changed(result: Regressions) -> "Figure":
    """The ratio of each objective's step and parts, as points with their intervals; 1 is no change.

    Raises MachineError where matplotlib is not installed.
    """
    figure, axes = canvas("Later over earlier", height=1.6 + 0.28 * len(result.changes))
    several = len({change.case for change in result.changes}) > 1
    labels = []
    for place, change in enumerate(result.changes):
        whole = change.part == STEP
        colour = PALETTE[0 if whole else 5]
        axes.hlines(place, *change.interval, color=colour, linewidth=2)
        axes.plot(change.ratio, place, "o", color=colour, markersize=7 if whole else 5)
        labels.append(f"{change.name}, {change.part}" + (f"\n{change.case}" if several and whole else ""))
    axes.axvline(1, color=PALETTE[1], linewidth=1)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x")
    numbered(axes.xaxis)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2f}")
    axes.set_xlabel("times as long, 95 % interval over rounds")
    return figure
