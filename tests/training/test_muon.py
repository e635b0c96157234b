"""Muon against torch's own, step by step; what it skips, saves and resumes, and which parameters are its."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from catlipctl import models
from catlipctl.objectives import Catlip, Clip, Context
from catlipctl.settings.models import ModelSettings, TextSettings
from catlipctl.settings.objectives import ClipSettings
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import OptimiserSettings
from catlipctl.training import optimiser
from catlipctl.training.learner import Learner
from catlipctl.training.muon import hidden_matrices, orthogonal
from catlipctl.training.world import World

MUON = OptimiserSettings(name="muon", weight_decay=0.1)


class Small(nn.Module):
    """Two matrices of one shape, a tall one, a convolution, and what is AdamW's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 2)
        self.one, self.two, self.tall = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 12)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.conv(self.stem(images)).flatten(2).mean(2)
        return self.head(self.norm(self.tall(self.two(self.one(found)))))


def made(module: Small) -> Any:
    hidden = hidden_matrices(module, module.head)
    assert hidden == {"conv.weight", "one.weight", "two.weight", "tall.weight"}
    groups = optimiser.parameter_groups(dict(module.named_parameters()), MUON.weight_decay, hidden=hidden)
    return optimiser.create(MUON, groups)


def test_each_step_is_torchs() -> None:
    """From the same weights each time; of gradients without a small singular value, which torch's iteration
    in bfloat16 would round off.
    """
    torch.manual_seed(0)
    ours = Small()
    found, theirs = made(ours), copy.deepcopy(ours)
    matrices = [theirs.one.weight, theirs.two.weight, theirs.tall.weight]
    flat = nn.Parameter(theirs.conv.weight.detach().flatten(1).clone())
    names = {"one.weight", "two.weight", "tall.weight", "conv.weight"}
    rest = {name: p for name, p in theirs.named_parameters() if name not in names}
    reference = torch.optim.Muon([*matrices, flat], weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(optimiser.parameter_groups(rest, 0.1), eps=1e-8)
    for step in range(8):
        rate = 0.02 + 0.01 * step
        for own, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
            drawn = torch.randn(own.shape)
            if own.ndim > 1:
                drawn = (drawn.flatten(1) / 4 + 3 * torch.eye(*own.flatten(1).shape)).view(own.shape)
            own.grad, wanted.grad = drawn, drawn.clone()
            if own is ours.conv.weight:
                flat.grad = drawn.flatten(1)
        before = [p.detach().clone() for p in [*matrices, flat]]
        for one in (found, reference, adamw):
            for group in one.param_groups:
                group["lr"] = rate
        optimiser.step_unless(found, torch.tensor(False))
        reference.step()
        adamw.step()
        same = [ours.one.weight, ours.two.weight, ours.tall.weight, ours.conv.weight.flatten(1)]
        for old, new, wanted in zip(before, same, [*matrices, flat], strict=True):
            assert (new - wanted).norm() < 0.03 * (wanted - old).norm()
        for name, p in rest.items():
            torch.testing.assert_close(ours.get_parameter(name), p, rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            for new, wanted in zip(same, [*matrices, flat], strict=True):
                wanted.copy_(new)
            theirs.conv.weight.copy_(flat.view_as(theirs.conv.weight))
    of_conv = found.state[ours.conv.weight]["momentum_buffer"].flatten(1)
    torch.testing.assert_close(of_conv, reference.state[flat]["momentum_buffer"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 5, 7), (1, 6, 6)])
def test_directions_are_those_of_the_singular_vectors(shape: tuple[int, ...]) -> None:
    """Of U S V^T the iteration leaves U and V; its coefficients take S to about 0.7 to 1.2, not to 1."""
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inside = u.mT @ orthogonal(matrices) @ vh.mT
    values = inside.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.5
    assert values.max() < 1.3
    torch.testing.assert_close(inside, torch.diag_embed(values), rtol=0, atol=1e-9)


def test_a_skipped_step_changes_nothing() -> None:
    module = Small()
    found = made(module)
    module(torch.randn(2, 3, 4, 4)).sum().backward()
    optimiser.step_unless(found, torch.tensor(False))
    before = copy.deepcopy((module.state_dict(), found.state_dict()["state"]))
    assert all(before[1].values())
    for parameter in module.parameters():
        assert parameter.grad is not None
        parameter.grad.fill_(torch.nan)
    optimiser.step_unless(found, torch.tensor(True))
    after = module.state_dict(), found.state_dict()["state"]
    assert all(torch.equal(after[0][name], value) for name, value in before[0].items())
    for index, state in before[1].items():
        for moment, value in state.items():
            assert torch.equal(after[1][index][moment], value)


def learner() -> Learner:
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name="test_vit", image_size=32), 3)
    objective = Catlip.build(None, Context(tower=tower, encode=lambda _: []))
    return Learner(objective, MUON, World(cpu=True))


def test_its_state_is_saved_and_goes_on_exactly(tmp_path: Path) -> None:
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
    save_file({n: t.contiguous() for n, t in first.state_dict().items()}, tmp_path / "state")  # type: ignore[union-attr]
    state = load_file(tmp_path / "state")
    for name, moments in (
        ("blocks.0.mlp.fc1", {"momentum_buffer"}),
        ("head", {"step", "exp_avg", "exp_avg_sq"}),
    ):
        start = f"optimiser/model.{name}.weight/"
        assert {key.removeprefix(start) for key in state if key.startswith(start)} == moments
    second.load_state_dict(load_file(tmp_path / "tower"), state)
    for number in (2, 3):
        step(second, number)
    for name, value in whole.weights().items():
        assert torch.equal(second.weights()[name], value), name


def test_embeddings_heads_and_what_looks_at_pixels_are_adamws() -> None:
    tower = models.create(ModelSettings(name="test_vit", image_size=160), 8)
    text = TextSettings(width=16, heads=2, layers=1, context_length=6)
    objective = Clip.build(ClipSettings(embed_dim=8, text=text), Context(tower=tower))
    found = hidden_matrices(objective, objective.tower.head)
    shapes = dict(objective.named_parameters())
    assert {name for name in found if name.startswith("text.")} >= {
        f"text.transformer.resblocks.0.{part}" for part in ("attn.in_proj_weight", "mlp.c_fc.weight")
    }
    outside = ("head", "patch_embed", "pos_embed", "cls_token", "token_embedding", "positional_embedding")
    assert not [name for name in found for part in outside if part in name]
    assert all(shapes[name].ndim in (2, 4) for name in found)
    convnext = models.create(ModelSettings(name="convnext_atto", image_size=32), 8)
    names = hidden_matrices(convnext.module, convnext.head)
    assert not [name for name in names if "conv_dw" in name or "stem" in name or "head" in name]
    assert [name for name in names if "mlp.fc1" in name]


def test_shards_of_matrices_are_refused() -> None:
    document = {"model": {}, "global_batch_size": 8, "length": {"steps": 1}, "optimiser": {"name": "muon"}}
    PretrainRecipe.model_validate(document)
    with pytest.raises(ValidationError, match="muon needs all"):
        PretrainRecipe.model_validate({**document, "sharding": "full"})
