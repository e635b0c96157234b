"""The step schedule against the released sampler's numbers, and its cut into shares and pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from catlipctl.data.batch import Shape, Step
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import Length, ScheduleSettings, Sizes
from catlipctl.training.optimiser import learning_rate
from catlipctl.training.steps import planned, schedule

# What CoreNet's variable_batch_sampler prints for base 224, min 128, max 320, 25 scales, multiples of 16.
RELEASED = {
    128: 3136, 144: 2477, 160: 2007, 176: 1658, 192: 1393, 208: 1187, 224: 1024, 240: 892, 256: 784, 272: 694,
    288: 619, 304: 555, 320: 501,
}  # fmt: skip


def test_sizes_and_batches_are_the_released_ones() -> None:
    sizes = Sizes(min=128, max=320)
    assert {size: sizes.rows(size, 224, 1024) for size in sizes.choices(224)} == RELEASED
    # 64 devices of 1,024: each device's batch is rounded, as the released code does.
    wide = Sizes(min=128, max=320, unit=1024)
    assert {size: wide.rows(size, 224, 65_536) for size in wide.choices(224)} == {
        size: 64 * rows for size, rows in RELEASED.items()
    }


def test_a_long_run_draws_the_sizes_evenly_with_the_released_mean_batch() -> None:
    found = schedule(Length(steps=200_001), 65_536, base_size=224, sizes=Sizes(min=128, max=320, unit=1024))
    assert found is not None
    counts = [steps for steps, _ in found.by_shape().values()]
    assert len(counts) == 13
    # Within five standard deviations of a uniform draw.
    assert np.abs(np.array(counts) - 200_001 / 13).max() < 5 * np.sqrt(200_001 / 13)
    assert found.samples() / len(found) / 65_536 == pytest.approx(1.27, abs=0.005)
    assert found.samples() == pytest.approx(16.7e9, rel=0.01)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 1e-6), (9_999, 0.0009999), (10_000, 1e-3), (105_000, 0.000505), (200_000, 1e-5)]
)
def test_learning_rates_are_the_released_ones(step: int, rate: float) -> None:
    settings = ScheduleSettings(warmup_steps=10_000, warmup_lr=1e-6, min_lr=1e-5, decimals=8)
    assert learning_rate(step, 200_001, 1e-3, settings) == pytest.approx(rate, abs=6e-9)


def test_a_run_without_sizes_has_one() -> None:
    found = schedule(Length(samples=1_000), 64, base_size=32)
    assert found is not None
    assert len(found) == 16
    assert [found[index] for index in (0, 15)] == [Step(0, 32, 64, 0), Step(15, 32, 64, 960)]
    assert found.samples() == 1_024
    assert schedule(Length(epochs=2), 64, base_size=32) is None
    epochs = schedule(Length(epochs=2.5), 64, base_size=32, source_size=100)
    assert epochs is not None
    assert len(epochs) == 4


def test_the_last_share_of_the_steps_leaves_out_nothing() -> None:
    recipe = PretrainRecipe.model_validate(
        {
            "model": {"token_drop": 0.5, "unmasked_tuning": 0.1},
            "global_batch_size": 8,
            "length": {"steps": 40},
        }
    )
    found = planned(recipe, 224)
    assert found is not None
    assert [step.token_drop for step in found.since(0)] == [0.5] * 36 + [0.0] * 4
    assert found.by_shape() == {Shape(224, 0.5): (36, found[0]), Shape(224): (4, found[36])}
    assert list(found.by_shape(37)) == [Shape(224)]


def test_growing_sizes_are_stages_of_equal_length() -> None:
    sizes = Sizes.model_validate({"from": 112, "to": 224, "stages": 8})
    found = schedule(Length(steps=800), 64, base_size=224, sizes=sizes)
    assert found is not None
    assert found.sizes.tolist() == sorted(found.sizes.tolist())
    assert {shape.size: steps for shape, (steps, _) in found.by_shape().items()} == dict.fromkeys(
        range(112, 225, 16), 100
    )
    assert found.by_shape()[Shape(112)] == (100, found[0])
    assert found[0].rows == 256
    fixed = schedule(
        Length(samples=8_000), 64, base_size=224, sizes=sizes.model_copy(update={"batch": "fixed"})
    )
    assert fixed is not None
    assert set(fixed.rows.tolist()) == {64}


@pytest.mark.parametrize(
    "wrong", [{}, {"min": 128}, {"min": 128, "max": 64}, {"min": 64, "max": 128, "from": 64, "to": 128}]
)
def test_sizes_are_one_kind_with_both_bounds(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Sizes.model_validate(wrong)


@given(
    rows=st.integers(1, 300),
    world=st.integers(1, 9),
    device_batch=st.one_of(st.none(), st.integers(1, 40)),
    seed=st.integers(0, 1_000),
)
def test_pieces_cover_a_step_once_equally_many_on_all_ranks(
    rows: int, world: int, device_batch: int | None, seed: int
) -> None:
    rows = max(rows, world)
    sizes = Sizes(min=16, max=64)
    found = schedule(Length(steps=5), rows, base_size=32, sizes=sizes, seed=seed)
    assert found is not None
    for step in found.since(0):
        if step.rows < world:
            continue
        shares = [found.pieces(step, rank, world, device_batch) for rank in range(world)]
        assert len({len(pieces) for pieces in shares}) == 1
        assert [row for pieces in shares for piece in pieces for row in piece] == list(range(step.rows))
        most = found.most(step.size, device_batch)
        assert most is None or all(len(piece) <= most for pieces in shares for piece in pieces)
        lengths = [sum(map(len, pieces)) for pieces in shares]
        assert max(lengths) - min(lengths) <= 1


@given(
    batch=st.integers(1, 60),
    samples=st.integers(1, 3_000),
    step=st.integers(0, 100),
    sizes=st.sampled_from(
        [None, Sizes(min=24, max=48, multiple=8), Sizes.model_validate({"from": 16, "to": 48})]
    ),
)
def test_a_run_that_goes_on_has_the_steps_of_one_that_never_stopped(
    batch: int, samples: int, step: int, sizes: Sizes | None
) -> None:
    whole = schedule(Length(samples=samples), batch, base_size=32, sizes=sizes)
    assert whole is not None
    step = min(step, len(whole))
    begun = (step, whole.samples(step))
    on = schedule(Length(samples=samples), batch, base_size=32, sizes=sizes, begun=begun)
    assert on is not None
    assert list(on.since(0)) == list(whole.since(0))


@given(
    batch=st.integers(1, 60),
    samples=st.integers(1, 3_000),
    begun=st.tuples(st.integers(1, 200), st.integers(1, 3_000)),
    sizes=st.sampled_from(
        [None, Sizes(min=24, max=48, multiple=8), Sizes.model_validate({"from": 16, "to": 48})]
    ),
)
def test_under_another_recipe_it_goes_on_after_the_samples_that_were_seen(
    batch: int, samples: int, begun: tuple[int, int], sizes: Sizes | None
) -> None:
    step, consumed = begun
    found = schedule(Length(samples=samples), batch, base_size=32, sizes=sizes, begun=begun)
    assert found is not None
    end = consumed
    for of in found.since(step):
        assert of.start == end < samples
        end += of.rows
    assert end >= samples
    assert found.samples() == end
    by_steps = schedule(Length(steps=100), batch, base_size=32, sizes=sizes, begun=begun)
    assert by_steps is not None
    assert len(by_steps) == max(100, step)
    assert by_steps.samples(step) == consumed
