"""LARS against timm's, step by step; what it skips, saves and resumes."""

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from timm.optim import Lars as TimmLars
from torch import nn

from catlipctl import models
from catlipctl.objectives import Classification, Context
from catlipctl.settings.models import ModelSettings
from catlipctl.settings.training import OptimiserSettings
from catlipctl.training import optimiser
from catlipctl.training.learner import Learner
from catlipctl.training.world import World


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_each_step_is_timms(decay: float) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    nn.init.zeros_(ours[2].weight)  # a norm of 0 scales nothing
    theirs = copy.deepcopy(ours)
    settings = OptimiserSettings(name="lars", weight_decay=decay, trust=0.02)
    groups = optimiser.parameter_groups(dict(ours.named_parameters()), decay)
    made = optimiser.create(settings, groups)
    matrices = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    reference = TimmLars(
        [
            {"params": matrices, "weight_decay": decay, "always_adapt": True},
            {"params": vectors, "weight_decay": 0.0, "always_adapt": False},
        ],
        momentum=0.9,
        trust_coeff=0.02,
    )
    for step in range(12):
        images, rate = torch.randn(5, 6), 0.02 + 0.01 * step
        for module, one in ((ours, made), (theirs, reference)):
            one.zero_grad()
            (module(images) - 1).square().mean().backward()
            for group in one.param_groups:
                group["lr"] = rate
        optimiser.step_unless(made, torch.tensor(False))
        reference.step()
        for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_skipped_step_changes_neither_weights_nor_momentum() -> None:
    layer = nn.Linear(3, 2)
    groups = optimiser.parameter_groups(dict(layer.named_parameters()), 0.0)
    made = optimiser.create(OptimiserSettings(name="lars", weight_decay=0), groups)
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step_unless(made, torch.tensor(False))
    before = copy.deepcopy((layer.state_dict(), made.state_dict()["state"]))
    layer.weight.grad.fill_(torch.inf)
    layer.bias.grad.fill_(torch.nan)
    optimiser.step_unless(made, torch.tensor(True))
    after = layer.state_dict(), made.state_dict()["state"]
    assert all(torch.equal(after[0][name], value) for name, value in before[0].items())
    for index, state in before[1].items():
        assert torch.equal(after[1][index]["momentum_buffer"], state["momentum_buffer"])


def test_its_state_is_saved_and_goes_on(tmp_path: Path) -> None:
    def learner() -> Learner:
        torch.manual_seed(0)
        tower = models.create(ModelSettings(name="test_vit", image_size=32), 3)
        objective = Classification.build(None, Context(tower=tower, encode=lambda _: []))
        return Learner(objective, OptimiserSettings(name="lars", trust=1), World(cpu=True))

    def step(one: Learner, number: int) -> None:
        draw = torch.Generator().manual_seed(number)
        for parameter in one.learned:
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        one.update(torch.tensor(1.0), 0.01, torch.tensor(False))

    whole, first, second = learner(), learner(), learner()
    for number in range(4):
        step(whole, number)
    for number in range(2):
        step(first, number)
    save_file({n: t.contiguous() for n, t in first.tower_weights().items()}, tmp_path / "tower")
    save_file({n: t.contiguous() for n, t in first.state_dict().items()}, tmp_path / "state")
    state = load_file(tmp_path / "state")
    assert "optimiser/model.head.weight/momentum_buffer" in state
    second.load_state_dict(load_file(tmp_path / "tower"), state)
    for number in (2, 3):
        step(second, number)
    for name, value in whole.weights().items():
        assert torch.equal(second.weights()[name], value), name


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"name": "lars", "betas": (0.9, 0.98)}, "betas is of adamw"),
        ({"momentum": 0.5}, "momentum is of lars"),
        ({"trust": 0.1}, "trust is of lars"),
    ],
)
def test_keys_of_another_optimiser_are_refused(keys: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        OptimiserSettings.model_validate(keys)


def test_a_rate_may_be_of_so_many_images() -> None:
    # MAE, Appendix A: lr = base lr x batch / 256.
    assert OptimiserSettings(name="lars", lr=0.1, lr_per=256).peak(16384) == pytest.approx(6.4)
    assert OptimiserSettings(lr=0.1).peak(16384) == 0.1
