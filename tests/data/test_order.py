"""The order of samples: a permutation for any size, different each epoch, and never silently another one."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlipctl.data.order import MOST_SAMPLES, CaptionOrder, LocalOrder, Order
from catlipctl.errors import DataError


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5_000), st.integers(-(2**70), 2**70), st.integers(0, 10**6))
def test_each_epoch_visits_every_sample_once(samples: int, seed: int, epoch: int) -> None:
    visited = Order(samples, seed).take(epoch * samples, samples)
    assert np.array_equal(np.sort(visited), np.arange(samples))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, MOST_SAMPLES), st.integers(0, 2**64), st.integers(0, 2**50), st.integers(0, 300))
def test_any_stretch_is_the_positions_one_by_one(samples: int, seed: int, start: int, count: int) -> None:
    order = Order(samples, seed)
    taken = order.take(start, count)
    assert taken.dtype == np.int64
    assert len(taken) == count
    assert ((taken >= 0) & (taken < samples)).all()
    for offset in range(0, count, 37):
        assert order(start + offset) == ((start + offset) // samples, taken[offset])


def test_the_order_of_a_release_is_the_order_of_the_next() -> None:
    """Pinned: a resumed run must go on in the order in which it began."""
    two_epochs = Order(10, 0).take(0, 20).tolist()
    assert two_epochs == [4, 2, 9, 5, 8, 3, 6, 0, 7, 1, 3, 8, 0, 1, 4, 7, 2, 9, 6, 5]
    assert Order(1_000_003, 7).take(10**9, 5).tolist() == [139010, 898605, 120030, 389739, 704014]
    assert Order(2**40, 1).take(0, 3).tolist() == [824750833165, 464673823508, 43553806298]


def test_epochs_and_seeds_differ_and_are_unrelated() -> None:
    n = 10_000
    orders = [Order(n, seed).take(epoch * n, n) for seed in (0, 1) for epoch in (0, 1)]
    orders.append(np.arange(n))
    for i, one in enumerate(orders):
        for other in orders[:i]:
            # Two random permutations agree in one place on average (Poisson).
            assert (one == other).sum() < 10
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


@pytest.mark.parametrize("samples", [3, 5, 10, 64, 100])
def test_every_sample_is_equally_likely_at_every_place(samples: int) -> None:
    """Chi-square over (place, sample) in 2,000 epochs, within six standard deviations of its mean."""
    epochs = 2_000
    visited = Order(samples, 11).take(0, samples * epochs).reshape(epochs, samples)
    counts = np.zeros((samples, samples))
    np.add.at(counts, (np.tile(np.arange(samples), epochs), visited.ravel()), 1)
    expected = epochs / samples
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = (samples - 1) ** 2
    assert abs(statistic - freedom) < 6 * np.sqrt(2 * freedom)


def test_neighbours_in_order_are_not_neighbours_in_storage() -> None:
    n = 100_000
    gaps = np.abs(np.diff(Order(n, 5).take(0, n)))
    # The mean distance of two random places is n / 3.
    assert abs(gaps.mean() / (n / 3) - 1) < 0.02


@pytest.mark.parametrize("samples", [0, -1, MOST_SAMPLES + 1])
def test_impossible_sizes_are_refused(samples: int) -> None:
    with pytest.raises(DataError):
        Order(samples, 0)


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any),
    window=st.integers(1, 14),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_local_order_visits_each_sample_once_an_epoch_and_stays_in_its_window(
    sizes: list[int], window: int, seed: int
) -> None:
    order = LocalOrder(sizes, seed, window)
    n = sum(sizes)
    visited = order.take(0, 3 * n)
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    for epoch in range(3):
        one = visited[epoch * n : (epoch + 1) * n]
        assert sorted(one.tolist()) == list(range(n))
        # Shards that were begun and are not done are never more than a window has.
        left, begun = list(sizes), set[int]()
        for shard in shard_of[one].tolist():
            begun.add(shard)
            assert len(begun) <= window
            left[shard] -= 1
            begun = begun if any(left[s] for s in begun) else set()
    # By arithmetic: any piece of it is the same.
    assert order.take(n // 2, n).tolist() == visited[n // 2 : n // 2 + n].tolist()


def test_a_local_order_is_the_same_in_a_worker_and_mixes_inside_its_window() -> None:
    order = LocalOrder([1000] * 8, 5, 2)
    again = pickle.loads(pickle.dumps(order))
    one = order.take(0, 8000)
    assert again.take(0, 8000).tolist() == one.tolist()
    for start in range(0, 8000, 2000):
        window = one[start : start + 2000] // 1000
        assert len(set(window.tolist())) == 2
        # Of two shards mixed at random, every second neighbour is of the other one.
        assert abs((window[1:] != window[:-1]).mean() - 0.5) < 0.05
    assert order.take(8000, 8000).tolist() != one.tolist()


CAPTIONS = st.lists(
    st.tuples(st.integers(0, 9)).map(lambda one: (f"drawing {one[0]}",)), min_size=1, max_size=60
)


@given(CAPTIONS, st.integers(0, 2**64), st.integers(0, 50))
def test_an_epoch_of_captions_has_each_once_and_epochs_in_a_row_all_their_images(
    captions: list[tuple[str, ...]], seed: int, epoch: int
) -> None:
    order = CaptionOrder(captions, seed)
    n = len(set(captions))
    assert order.samples == n
    visited = order.take(epoch * n, n)
    assert sorted(captions[sample] for sample in visited) == sorted(set(captions))
    most = max(captions.count(one) for one in captions)
    shown = order.take(epoch * n, most * n).reshape(most, n)
    for caption in set(captions):
        images = [sample for row in shown for sample in row if captions[sample] == caption]
        have = [sample for sample, told in enumerate(captions) if told == caption]
        assert images[: len(have)] == sorted(images[: len(have)], key=images.index)
        assert set(images[: len(have)]) == set(have)
    for offset in range(0, most * n, 7):
        assert order(epoch * n + offset) == (epoch + offset // n, shown.ravel()[offset])


def test_which_image_of_a_caption_comes_first_is_for_the_seed_to_say() -> None:
    """Chi-square over four images of 4,000 captions: within six standard deviations of its mean."""
    captions = [(str(sample // 4),) for sample in range(16_000)]
    first = {seed: np.sort(CaptionOrder(captions, seed).take(0, 4_000)) % 4 for seed in (0, 1)}
    for images in first.values():
        counts = np.bincount(images, minlength=4)
        assert ((counts - 1000) ** 2 / 1000).sum() < 3 + 6 * np.sqrt(6)
    assert abs((first[0] == first[1]).mean() - 0.25) < 0.05
    # Where each image has a caption of its own, all is as in `Order`.
    own = [(str(sample),) for sample in range(100)]
    assert np.array_equal(CaptionOrder(own, 3).take(7, 500), Order(100, 3).take(7, 500))
    again = pickle.loads(pickle.dumps(CaptionOrder(captions, 1)))
    assert np.array_equal(again.take(5, 99), CaptionOrder(captions, 1).take(5, 99))


def test_a_source_without_a_sample_has_no_order_of_captions() -> None:
    with pytest.raises(DataError):
        CaptionOrder([], 0)
