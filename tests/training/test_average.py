import math

import pytest
import torch
from torch import nn

from catlipctl.settings.training import EmaSettings, left_of_start
from catlipctl.training.average import Average


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
    average = Average(model.state_dict(), 0.1)
    expected = {name: value.clone().double() for name, value in model.state_dict().items()}
    for step in range(10):
        with torch.no_grad():
            model.weight.fill_(step)
            model.running_mean.fill_(2.0 * step)
            model.num_batches_tracked.fill_(step)
        for skipped in (True, False, True):
            average.update(torch.tensor(skipped))
        for name in ("weight", "running_mean"):
            expected[name] = 0.9 * expected[name] + 0.1 * model.state_dict()[name]
    for name in ("weight", "running_mean"):
        torch.testing.assert_close(average.values[name].double(), expected[name], rtol=1e-6, atol=1e-6)
    assert average.values["num_batches_tracked"] == 9


def test_weights_and_averages_change_places_and_go_back_bit_for_bit() -> None:
    model = nn.BatchNorm1d(3)
    weights = model.state_dict()
    average = Average(weights, 0.1)
    with torch.no_grad():
        for value in weights.values():
            value.add_(torch.rand(value.shape) if value.is_floating_point() else 7)
    before = [{name: value.clone() for name, value in of.items()} for of in (weights, average.values)]
    average.swap()
    for found, wanted in zip((average.values, model.state_dict()), before, strict=True):
        assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    average.swap()
    for found, wanted in zip((model.state_dict(), average.values), before, strict=True):
        assert all(torch.equal(value, wanted[name]) for name, value in found.items())
