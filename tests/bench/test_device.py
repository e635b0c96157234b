"""The search for the largest batch, on memories of any size."""

from hypothesis import given
from hypothesis import strategies as st

from catlipctl.bench.device import GRAIN, largest


@given(st.integers(1, 300), st.integers(0, 6000))
def test_the_largest_batch_fits_and_a_little_more_does_not(first: int, more: int) -> None:
    limit, most, tried = first + more, 16 * first, []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= limit

    found = largest(fits, first, most)
    assert found <= min(limit, most)
    assert found >= min(limit, most) - max(GRAIN, limit // 16)
    assert max(tried) <= most
    # Each try is a process of its own.
    assert len(tried) == len(set(tried)) <= 10
