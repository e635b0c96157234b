import math

import pytest
import torch
from torch import nn

from catlipctl.training.average import EmaSettings, create, left_of_start
from catlipctl.training.schedule import ScheduleSettings, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-6),
        (5_000, 1e-6 + (1e-3 - 1e-6) / 2),
        (10_000, 1e-3),
        (105_000, 1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * 95_000 / 190_001))),
        (200_000, 1e-5),
    ],
)
def test_the_papers_schedule(step: int, expected: float) -> None:
    settings = ScheduleSettings(warmup_steps=10_000, warmup_lr=1e-6, min_lr=1e-5)
    # The released code rounds to 8 decimals (reference 2.6).
    assert learning_rate(step, 200_001, 1e-3, settings) == pytest.approx(expected, abs=5e-9)


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert learning_rate(0, 7, 0.3, ScheduleSettings()) == 0.3


def test_a_fitted_average_forgets_its_start_whatever_the_length() -> None:
    for steps in (20, 1_500, 200_000):
        momentum = EmaSettings(momentum="fit").of(steps)
        assert momentum is not None
        assert left_of_start(momentum, steps) < math.exp(-10) * 1.001
    assert left_of_start(5e-4, 1_500) == pytest.approx(0.472, abs=5e-4)
    assert EmaSettings(momentum="fit").of(3) == 1.0
    assert EmaSettings().of(100) is None


def test_the_average_is_the_closed_form_buffers_included() -> None:
    model = nn.BatchNorm1d(1)
    average = create(model, 0.1)
    expected = {name: value.clone().double() for name, value in model.state_dict().items()}
    for step in range(10):
        with torch.no_grad():
            model.weight.fill_(step)
            model.running_mean.fill_(2.0 * step)
            model.num_batches_tracked.fill_(step)
        average.update(model)
        for name in ("weight", "running_mean"):
            expected[name] = 0.9 * expected[name] + 0.1 * model.state_dict()[name]
    for name in ("weight", "running_mean"):
        torch.testing.assert_close(
            average.module.state_dict()[name].double(), expected[name], rtol=1e-6, atol=1e-6
        )
    assert average.module.state_dict()["num_batches_tracked"] == 9
