"""AdamW, without weight decay on vectors."""

from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimiserSettings(BaseModel):
    """The recipe's section `optimiser`. Defaults are the paper's (CatLIP Table 6)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.2, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0)
    """The gradient is scaled down to this norm; null: left as it is."""


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decayed, and not: 1-D tensors, so biases and norms (CoreNet `no_decay_bn_filter_bias`)."""
    learned = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim != 1], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.ndim == 1], "weight_decay": 0.0},
    ]


def create(settings: OptimiserSettings, module: nn.Module) -> torch.optim.AdamW:
    """AdamW over all that learns in `module`; `lr` is set at each step by the loop."""
    groups = [group for group in parameter_groups(module, settings.weight_decay) if group["params"]]
    # Fused: one pass over the parameters, on a CPU too, where the default is a Python loop over tensors.
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)


def named_state(optimiser: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors under `PARAMETER/NAME`, so that no order of parameters need be kept."""
    state = {}
    for name, parameter in module.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            state[f"{name}/{key}"] = value
    return state


def load_named_state(optimiser: torch.optim.Optimizer, module: nn.Module, state: dict[str, Tensor]) -> None:
    """The reverse of `named_state`; KeyError names a parameter of which the state holds nothing."""
    parameters = dict(module.named_parameters())
    for path, value in state.items():
        name, _, key = path.rpartition("/")
        # Fused AdamW counts steps on the parameter's device.
        optimiser.state[parameters[name]][key] = value.to(parameters[name].device)
