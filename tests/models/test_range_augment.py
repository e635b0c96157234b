"""RangeAugment against a straight-line formula in float64, and against the released code's numbers."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from catlipctl.data.batch import Step, share
from catlipctl.models import RangeAugment
from catlipctl.settings.models import RangeAugmentSettings

STEP = Step(index=7, size=16, rows=12, start=3000)
POSITIONS = torch.arange(STEP.start, STEP.start + STEP.rows)


def augment(steps: int = 100, seed: int = 0) -> RangeAugment:
    return RangeAugment(RangeAugmentSettings(), steps, seed)


def images(rows: int = STEP.rows, size: int = STEP.size, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_the_ranges_start_where_the_released_ones_do():
    module = augment()
    for name, low, high in (("brightness", 0.598, 8.38), ("contrast", 0.598, 8.38), ("noise", 2.5e-5, 0.525)):
        found = [end.item() for end in getattr(module, name).range()]
        assert found == pytest.approx([low, high], rel=1e-3)
    assert {name: parameter.ndim for name, parameter in module.named_parameters()} == {
        f"{operation}.{end}": 0
        for operation in ("brightness", "contrast", "noise")
        for end in ("low", "high")
    }


def test_the_target_goes_from_40_to_20_decibels_on_a_cosine_of_the_error():
    module = augment(steps=200_000)
    decibels = [10 * math.log10(255**2 / module.target(step)) for step in (0, 100_000, 200_000)]
    assert decibels == pytest.approx([40, 22.967, 20], abs=1e-3)
    assert module.target(0) == pytest.approx(6.5025)
    assert module.target(100_000) == pytest.approx((6.5025 + 650.25) / 2, rel=1e-4)
    assert module.target(200_001) == module.target(200_000)


def straight_line(module: RangeAugment, x: torch.Tensor, raw: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The changed images and the loss, an image and an operation at a time, by the paper's formulas."""

    def between(name: str, end: str, least: float, most: float) -> torch.Tensor:
        return least + (most - least) / (1 + torch.exp(-raw[f"{name}.{end}"]))

    bounds = {"brightness": (0.1, 0.9, 1.1, 10), "contrast": (0.1, 0.9, 1.1, 10), "noise": (0, 5e-5, 1e-4, 1)}
    changed = []
    rows = [set(module.rows(i, STEP, POSITIONS).tolist()) for i in range(3)]
    uniform = [module.uniform(i, POSITIONS) for i in range(3)]
    for b, image in enumerate(x):
        for i in module.order(STEP):
            if b in rows[i]:
                name = list(bounds)[i]
                least, most, least_high, most_high = bounds[name]
                low, high = between(name, "low", least, most), between(name, "high", least_high, most_high)
                m = low + uniform[i][b] * (high - low)
                if name == "brightness":
                    image = image * m
                elif name == "contrast":
                    mean = image.sum((1, 2)) / image[0].numel()
                    image = (1 - m) * mean[:, None, None] + m * image
                else:
                    image = image + m * module.normal(POSITIONS[b : b + 1], image[None])[0]
        changed.append(image.clamp(0, 1))
    target = 10 ** ((20 * math.log10(255) - 40) / 10)
    target_end = 10 ** ((20 * math.log10(255) - 20) / 10)
    target = target_end + 0.5 * (target - target_end) * (1 + math.cos(math.pi * 7 / 101))
    loss = torch.zeros((), dtype=torch.float64)
    for before, after in zip(x, changed, strict=True):
        off = (((after - before) * 255) ** 2).mean() - target
        loss = loss + (abs(off) - 0.5 if abs(off) > 1 else 0.5 * off**2) / len(x)
    return [torch.stack(changed), loss * 100 / 65025]


@pytest.mark.parametrize("seed", range(3))
def test_images_loss_and_gradients_equal_the_straight_line(seed):
    module = augment(seed=seed).double()
    x = images(seed=seed).double()
    raw = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    expected, expected_loss = straight_line(module, x, raw)
    found, loss = module(x, STEP, POSITIONS)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss, expected_loss)
    weights = torch.randn(x.shape, dtype=torch.float64)  # as if a tower's gradient came through the images
    (expected_loss + (expected * weights).sum()).backward()
    (loss + (found * weights).sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, raw[name].grad)


@pytest.mark.parametrize("rows", [1, 2, 5, 12, 1000])
def test_each_operation_changes_half_of_the_step(rows):
    step = Step(index=3, size=16, rows=rows, start=77)
    positions = torch.arange(77, 77 + rows)
    found = [augment().rows(operation, step, positions) for operation in range(3)]
    assert [len(set(chosen)) for chosen in found] == [max(1, rows // 2)] * 3
    if rows == 1000:
        for other in found[1:]:  # 250 of independent halves, give or take 8
            assert len(set(found[0]) & set(other)) == pytest.approx(250, abs=40)
        assert np.mean(found[0] < 500) == pytest.approx(0.5, abs=0.08)


def test_orders_of_operations_occur_equally_often():
    module = augment()
    orders = [tuple(module.order(Step(i, 16, 1, i))) for i in range(1200)]
    counts = [orders.count(order) for order in permutations(range(3))]
    assert sum(counts) == 1200
    assert all(150 < count < 250 for count in counts)


@pytest.mark.parametrize("world", [1, 2, 3, 5, 12])
def test_the_same_for_any_cut_of_the_step(world):
    whole, whole_loss = augment()(images(), STEP, POSITIONS)
    module = augment()
    pieces, loss = [], torch.zeros(())
    for rank in range(world):
        rows = share(STEP.rows, rank, world)
        piece = slice(rows.start, rows.stop)
        changed, part = module(images()[piece], STEP, POSITIONS[piece])
        pieces.append(changed)
        loss = loss + part * len(rows) / STEP.rows
        part.backward()  # also where no image of the piece is changed: no process may miss a gradient
        assert all(parameter.grad is not None for parameter in module.parameters())
        module.zero_grad()
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(loss, whole_loss)


def test_an_unchanged_piece_is_left_as_it_is():
    module = augment()
    chosen = {int(row) for i in range(3) for row in module.rows(i, STEP, POSITIONS)}
    untouched = torch.tensor([row for row in range(STEP.rows) if row not in chosen])
    assert len(untouched), "another seed is needed for this test"
    found, _ = module(images()[untouched], STEP, POSITIONS[untouched])
    assert torch.equal(found, images()[untouched])


def test_noise_is_standard_normal_and_independent_of_its_neighbours():
    module, like = augment(), torch.empty(32, 3, 64, 64)
    noise = module.normal(torch.arange(1000, 1032), like)
    assert torch.equal(noise[5:6], module.normal(torch.tensor([1005]), like[:1]))
    values = noise.flatten().double()
    error = 4 / math.sqrt(len(values))
    assert abs(values.mean()) < error
    assert abs(values.square().mean() - 1) < error * math.sqrt(2)
    assert abs(values.pow(3).mean()) < error * math.sqrt(15)
    assert abs(values.pow(4).mean() - 3) < error * math.sqrt(96)
    expected = torch.distributions.Normal(0.0, 1.0).icdf(torch.arange(1, 100) / 100).double()
    shares = torch.searchsorted(values.sort().values, expected) / len(values)
    torch.testing.assert_close(shares, torch.arange(1, 100) / 100, rtol=0, atol=error / 2)
    for one, other in (
        (noise[1:], noise[:-1]),
        (noise[..., 1:], noise[..., :-1]),
        (noise[:, 1:], noise[:, :-1]),
    ):
        assert abs((one * other).double().mean()) < 5 / math.sqrt(one.numel())


def test_magnitudes_are_uniform_and_apart():
    draws = np.stack([augment().uniform(operation, torch.arange(20_000)) for operation in range(3)])
    assert draws.min() >= 0
    assert draws.max() < 1
    for row in draws:
        assert np.histogram(row, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), abs=200)
    assert np.corrcoef(draws) == pytest.approx(np.eye(3), abs=0.04)
    assert not np.array_equal(draws[0], augment(seed=1).uniform(0, torch.arange(20_000)))


def test_evaluation_changes_nothing():
    found, loss = augment().eval()(images(), STEP, POSITIONS)
    assert torch.equal(found, images())
    assert loss == 0
