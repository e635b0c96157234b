import torch
from torch import nn

from catlipctl import models
from catlipctl.settings.models import ModelSettings
from catlipctl.training import optimiser


def test_decay_groups_of_the_released_vit_are_those_of_the_released_code() -> None:
    with torch.device("meta"):
        model = models.create(ModelSettings(name="vit_base_catlip_224"), 100).module
    decayed, rest = optimiser.parameter_groups(dict(model.named_parameters()), 0.2)
    assert (decayed["rate"], rest["rate"]) == (1, 1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    in_decayed = {names[id(p)] for p in decayed["params"]}
    # Reference 2.6: cls_token, pos_embed, conv and linear weights, classifier weight decay; vectors do not.
    assert {"cls_token", "pos_embed", "head.weight", "blocks.0.attn.qkv.weight"} <= in_decayed
    assert all(names[id(p)].endswith((".weight", "cls_token", "pos_embed")) for p in decayed["params"])
    assert all(
        ".bias" in names[id(p)] or "norm" in names[id(p)] or ".bn." in names[id(p)] for p in rest["params"]
    )
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.2, 0.0)
    assert len(decayed["params"]) + len(rest["params"]) == len(names)


def test_an_adamw_step_is_the_closed_form() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 2.0)
    settings = optimiser.OptimiserSettings(lr=0.1, weight_decay=0.5)
    made = optimiser.create(
        settings, optimiser.parameter_groups(dict(layer.named_parameters()), settings.weight_decay)
    )
    layer(torch.ones(1, 1)).sum().backward()
    made.step()
    # The first step of Adam is -lr * sign(gradient); decay multiplies by 1 - lr * decay before it.
    torch.testing.assert_close(layer.weight.item(), 2.0 * (1 - 0.1 * 0.5) - 0.1, rtol=0, atol=1e-6)
    torch.testing.assert_close(layer.bias.item(), 2.0 - 0.1, rtol=0, atol=1e-6)


def test_undecayed_names_and_rates_make_groups_of_their_own() -> None:
    module = nn.Module()
    module.scale = nn.Parameter(torch.zeros(()))
    module.range = nn.Parameter(torch.zeros(()))
    module.layer = nn.Linear(2, 2)
    groups = optimiser.parameter_groups(
        dict(module.named_parameters()),
        0.3,
        {"scale"},
        rate_of=lambda name: 0.5 if name.startswith("layer") else 1.0,
    )
    found = {(g["weight_decay"], g["rate"]): [tuple(p.shape) for p in g["params"]] for g in groups}
    # A 0-D tensor is decayed, as released, unless its objective names it.
    assert found == {(0.0, 1.0): [()], (0.3, 1.0): [()], (0.3, 0.5): [(2, 2)], (0.0, 0.5): [(2,)]}
