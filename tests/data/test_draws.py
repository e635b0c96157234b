"""Stateless random numbers against SplitMix64's published vector."""

import numpy as np
import pytest

from catlipctl.data.draws import GOLDEN, MASK, hashed, uniform


def test_the_stream_is_splitmix64() -> None:
    """The first numbers of Vigna's splitmix64.c from the seed 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = [(1234567 + i * GOLDEN) & MASK for i in range(4)]
    assert [hashed(state) for state in states] == published
    assert hashed(np.array(states, np.uint64)).tolist() == published
    assert [uniform(1234567, i) for i in range(4)] == pytest.approx([number / 2**64 for number in published])


def test_draws_fill_the_unit_interval() -> None:
    drawn = np.array([uniform(3, i) for i in range(10_000)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] - 1000).max() < 150
