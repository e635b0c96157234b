"""A curve is the probes that one would fit one by one: on the same subsets, resumed, and never made twice."""

import json
import math
from pathlib import Path

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.errors import UsageError
from catlipctl.transfer import curve, linear_probe
from catlipctl.transfer.labelled import open_splits
from catlipctl.transfer.metrics import mean_interval

from .conftest import tower


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_the_interval_over_seeds_is_students(values: list[float]) -> None:
    found = mean_interval(values)
    assert found is not None
    error = scipy.stats.sem(values)
    if not math.isfinite(error) or error < 1e-9:
        assert found == pytest.approx((sum(values) / len(values),) * 2, abs=1e-6)
        return
    theirs = scipy.stats.t.interval(0.95, len(values) - 1, sum(values) / len(values), error)
    assert found == pytest.approx(theirs, abs=1e-3 * error)
    assert mean_interval(values[:1]) is None


def test_points_are_single_probes_on_the_same_subsets_and_are_made_once(
    checkpoint: Checkpoint, folders: Path, tmp_path: Path
) -> None:
    splits, cache = open_splits(str(folders)), tmp_path / "cache"
    first = curve(
        checkpoint, *splits, train_sizes=["2/class"], inits=["transfer"], root=tmp_path, cache=cache
    )
    assert [(point.init, point.train_size, point.seed) for point in first.points] == [
        ("transfer", "2/class", 0)
    ]
    (kept,) = (tmp_path / "curve" / "points").glob("*.json")
    stamp = kept.stat().st_mtime_ns
    sizes = ["2/class", "50%"]
    found = curve(checkpoint, *splits, train_sizes=sizes, seeds=2, root=tmp_path, cache=cache)
    assert (found.folder, first.folder) == (str(tmp_path / "curve"),) * 2
    assert (len(found.points), found.reused, kept.stat().st_mtime_ns) == (8, 1, stamp)
    assert found.extraction.images == 0
    for point in found.points:
        # A probe's seed decides the split too, but here test images are given.
        alone = linear_probe(
            checkpoint, *splits, train_size=point.train_size, init=point.init, seed=point.seed, cache=cache
        )
        assert (point.acc1, point.train_images) == (alone.acc1, alone.train_images)
        assert point.regularisation == alone.choice.regularisation
        if point.train_size == "50%":
            assert point.train_images == 20
    by_init = {
        init: [p.acc1 for p in found.points if (p.init, p.train_size) == (init, "2/class")]
        for init in ("transfer", "random")
    }
    (score,) = (s for s in found.by_train_size if (s.init, s.train_size) == ("transfer", "2/class"))
    assert (score.acc1, score.seeds) == (pytest.approx(sum(by_init["transfer"]) / 2), 2)
    gains = [a - b for a, b in zip(by_init["transfer"], by_init["random"], strict=True)]
    assert found.gains[0].gain == pytest.approx(sum(gains) / 2)
    whole = linear_probe(checkpoint, *splits, cache=cache)
    assert found.zero_shot_acc1 == whole.zero_shot_acc1
    assert json.loads((tmp_path / "curve" / "result.json").read_text())["reused"] == 1
    # A damaged point is made again; another tower's are another curve.
    kept.write_text("{")
    again = curve(checkpoint, *splits, train_sizes=sizes, seeds=2, root=tmp_path, cache=cache)
    assert again.reused == 7
    assert [p.acc1 for p in again.points] == [p.acc1 for p in found.points]
    checkpoints.write(tmp_path / "plain", tower=tower(3), config={})
    plain = checkpoints.load(tmp_path / "plain")
    other = curve(plain, *splits, train_sizes=["2/class"], root=tmp_path)
    assert other.folder == str(tmp_path / "curve-2")
    assert [point.init for point in other.points] == ["random"]
    assert other.gains == []
    with pytest.raises(UsageError, match="holds something else"):
        curve(plain, *splits, train_sizes=["2/class"], out=tmp_path / "curve")
