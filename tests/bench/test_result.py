"""Medians and quartiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.bench.result import Spread


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40))
def test_spread_is_numpys(values: list[float]) -> None:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    spread = Spread.of(values)
    assert (spread.low, spread.median, spread.high) == pytest.approx((low, median, high))
