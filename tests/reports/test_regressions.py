"""Two benchmarks beside each other: what doubled is told, what only jitters is not."""

from pathlib import Path

import numpy as np
import pytest

from catlipctl import reports
from catlipctl.bench.step_result import StepBenchmark
from catlipctl.errors import UsageError
from catlipctl.reports.regressions import STEP, changed, regressions

from .conftest import step_benchmark


def benchmark(seed: int, loss: float = 0.2, names: tuple[str, ...] = ("catlip", "clip")) -> StepBenchmark:
    """Steps of 0.1 s in the image tower and `loss` s in the loss, with jitter of a tenth."""
    random = np.random.default_rng(seed)
    jitter = random.lognormal(0, 0.1, (len(names), 20))
    made = step_benchmark(
        {name: {"image tower": 0.1, "head and loss": loss} for name in names},
        {name: list((0.1 + loss) * found) for name, found in zip(names, jitter, strict=True)},
    )
    for row, found in zip(made.cases[0].rows, jitter, strict=True):
        row.rounds = [{"forward, image tower": 0.1 * x, "loss, head and loss": loss * x} for x in found]
    return made


def written(tmp_path: Path, *made: StepBenchmark) -> list[Path]:
    return [one.write(tmp_path / f"{number}.json") for number, one in enumerate(made)]


def test_what_became_slower_is_told_by_part(tmp_path: Path) -> None:
    later = benchmark(2, loss=0.4, names=("catlip", "siglip"))
    later.ema = True
    paths = written(tmp_path, benchmark(1), later)
    result = regressions(reports.find(paths))
    assert {(change.name, change.part) for change in result.changes} == {
        ("catlip", STEP),
        ("catlip", "image tower"),
        ("catlip", "head and loss"),
    }
    found = {change.part: change for change in result.changes}
    assert found["image tower"].verdict == "no verdict"
    assert found["head and loss"].verdict == found[STEP].verdict == "slower"
    assert found["head and loss"].ratio == pytest.approx(2, rel=0.15)
    assert found[STEP].ratio == pytest.approx(0.5 / 0.3, rel=0.15)
    assert found[STEP].interval[0] < 0.5 / 0.3 < found[STEP].interval[1]
    assert [name.rpartition(", ")[2] for name in result.only] == ["clip", "siglip"]
    assert result.unlike == ["ema: False, then True"]
    back = regressions(reports.find(paths[::-1]))
    assert {change.part: change.verdict for change in back.changes}[STEP] == "faster"
    (points, *_) = changed(result).axes
    drawn = [line.get_xdata()[0] for line in points.get_lines() if line.get_marker() == "o"]
    assert drawn == [change.ratio for change in result.changes]


def test_the_same_twice_is_no_verdict_nearly_always(tmp_path: Path) -> None:
    told = 0
    for seed in range(20):
        paths = written(tmp_path, benchmark(2 * seed), benchmark(2 * seed + 1))
        told += sum(change.verdict != "no verdict" for change in regressions(reports.find(paths)).changes[:1])
    assert told <= 4


def test_two_that_have_nothing_in_common_are_told(tmp_path: Path) -> None:
    paths = written(tmp_path, benchmark(1, names=("catlip",)), benchmark(2, names=("clip",)), benchmark(3))
    with pytest.raises(UsageError, match="no case"):
        regressions(reports.find(paths[:2]))
    with pytest.raises(UsageError, match="3 benchmarks"):
        regressions(reports.find(paths))
