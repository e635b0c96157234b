"""Rounds in which all sides take one step each, in turns, and what comes of them.

Every other round runs in the other order, so that whatever else the machine does hits all alike; ratios are
taken within each round.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from catlipctl.bench.result import Ratio, Spread
from catlipctl.bench.spans import Contestant, Span, timed
from catlipctl.bench.step_result import COMMUNICATION, StepRow
from catlipctl.progress import Progress
from catlipctl.training.world import World

SECONDS = 15
"""For each contestant, where no number of rounds is asked for."""
FEWEST, MOST = 8, 30
"""Rounds then: as many as fit, within these bounds, and even. Of fewer than six the least and the most are no
95 % interval of a median.
"""


class Side(NamedTuple):
    """Who steps. alone: the same in each process for itself, where several step together."""

    together: Contestant
    alone: Contestant | None = None

    @property
    def itself(self) -> Contestant:
        """Who steps without waiting for others."""
        return self.alone or self.together


class Taken(NamedTuple):
    """Seconds of a step, and of the spans of one in this process alone; of one process they add up to it."""

    step: float
    spans: dict[Span, float]


Round = dict[str, Taken]
"""By name."""


def take(sides: Mapping[str, Side], names: Sequence[str], world: World) -> Round:
    """One round, in the order of `names`."""
    found = {}
    for name in names:
        side = sides[name]
        world.wait()
        spans = timed(side.together, world.device, alone=world.size == 1)
        step = sum(spans.values())
        if side.alone is not None:
            world.wait()
            spans = timed(side.alone, world.device, alone=False)
        found[name] = Taken(step, spans)
    return found


def rounds(
    sides: Mapping[str, Side], count: int | None, warm: Round, world: World, progress: Progress
) -> list[Round]:
    """As many as asked for, rounded up to even, or as fit. warm: a round that does not count."""
    turns = list(sides)
    if count and count % 2:
        count += 1
        progress.note(f"{count} rounds, not {count - 1}: each order as often as the other")
    fitting = int(len(turns) * SECONDS / sum(taken.step for taken in warm.values()))
    count = count or world.on_main(lambda: min(max(fitting // 2 * 2, FEWEST), MOST))
    found: list[Round] = []
    with progress.task("training steps of all", total=count, unit="rounds") as task:
        for index in range(count):
            found.append(take(sides, turns if index % 2 == 0 else turns[::-1], world))
            task.advance(1, ratio=ratio(found, turns[-1], turns[0]).median)
    return found


def ratio(found: Sequence[Round], above: str, below: str) -> Ratio:
    """One's step over the other's, of each round's pair."""
    return Ratio.of([taken[above].step / taken[below].step for taken in found])


def spreads(found: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Of each of what every round has."""
    return {name: Spread.of([one[name] for one in found]) for name in found[0]}


def explained(row: StepRow, first: StepRow, whole: Ratio) -> dict[str, float]:
    """What each part adds to a ratio of steps, as a share of the first one's step.

    With 1 they sum up to the ratio; `rest` is that medians of parts do not add up to those of steps.
    """
    base = first.step.median
    names = [*row.parts, *(name for name in first.parts if name not in row.parts)]
    shares = {name: (_median(row, name) - _median(first, name)) / base for name in names}
    return {**shares, "rest": whole.median - 1 - sum(shares.values())}


def _median(row: StepRow, part: str) -> float:
    return row.parts[part].median if part in row.parts else 0.0


def with_communication(parts: Mapping[str, float], taken: Taken, alone: bool) -> dict[str, float]:
    """The parts of a round, and what the step of all processes took longer than them."""
    if not alone or not parts:
        return dict(parts)
    return {**parts, COMMUNICATION: taken.step - sum(taken.spans.values())}
