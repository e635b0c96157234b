"""AdamW, LARS and Muon, without weight decay on vectors; and the learning rate as a function of the step."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, cast

import torch
from timm.models import group_parameters
from torch import Tensor
from torch.optim import Optimizer

from catlipctl.settings.training import OptimiserSettings, ScheduleSettings
from catlipctl.training.lars import Lars, Norms, norms_of
from catlipctl.training.muon import Muon


def learning_rate(step: int, steps: int, peak: float, settings: ScheduleSettings) -> float:
    """Learning rate of `step` (from 0) in a run of `steps`.

    From `warmup_lr` in a straight line to the peak at the end of the warm-up, then half a cosine that would
    reach `min_lr` at step `steps`: the released code's rule (CoreNet `CosineScheduler`), whose 200,001
    updates with 10,000 of warm-up are `steps=200001` here.
    """
    warmup = settings.warmup(steps)
    if step < warmup:
        rate = settings.warmup_lr + (peak - settings.warmup_lr) * step / warmup
    else:
        done = (step - warmup) / max(1, steps - warmup)
        rate = settings.min_lr + (peak - settings.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
    return rate if settings.decimals is None else round(rate, settings.decimals)


def parameter_groups(
    parameters: Mapping[str, Tensor],
    weight_decay: float,
    undecayed: Iterable[str] = (),
    rate_of: Callable[[str], float] = lambda _: 1.0,
    hidden: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Parameters by name, grouped by weight decay and by `rate`, their share of the step's learning rate.

    Without decay are 1-D tensors, so biases and norms (CoreNet `no_decay_bn_filter_bias`, which decays 0-D
    ones), and those that are named in `undecayed`. rate_of: a parameter's name -> its rate. hidden: names of
    those that Muon is for.
    """
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    spared = set(undecayed)
    for name, parameter in parameters.items():
        decay = 0.0 if parameter.ndim == 1 or name in spared else weight_decay
        rate, muon = rate_of(name), name in hidden
        made = {"params": [], "weight_decay": decay, "rate": rate, "muon": muon}
        group = groups.setdefault((decay, rate, muon), made)
        group["params"].append(parameter)
    return list(groups.values())


def layer_rates(module: Any, decay: float) -> Callable[[str], float]:
    """A parameter's share of the learning rate: 1 in the classifier, times `decay` with each block before it.

    Blocks are timm's, as its own layer-wise decay counts them. Names are an objective's: with `model.`.
    """
    if decay == 1:
        return lambda _: 1.0
    groups = group_parameters(module, module.group_matcher(coarse=False), reverse=True)
    last = max(groups.values())
    return lambda name: decay ** (last - groups.get(name.removeprefix("model."), last))


def moments(optimiser: Optimizer, parameter: Tensor) -> tuple[str, ...]:
    """What an optimiser remembers of a parameter, under its own names; `step` is a scalar."""
    if isinstance(optimiser, Lars) or (isinstance(optimiser, Muon) and parameter in optimiser.hidden):
        return ("momentum_buffer",)
    return ("step", "exp_avg", "exp_avg_sq")


def create(settings: OptimiserSettings, groups: list[dict[str, Any]], norms: Norms = norms_of) -> Optimizer:
    """The optimiser over parameter groups; the loop sets `lr` at each step.

    norms: of whole tensors, of what this process holds of them.
    """
    if settings.name == "lars":
        return Lars(
            groups,
            lr=settings.lr,
            momentum=settings.momentum,
            trust=settings.trust,
            eps=settings.eps,
            norms=norms,
        )
    if settings.name == "muon":
        return Muon(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
    # Fused: one pass over the parameters, on a CPU too, where the default is a Python loop over tensors.
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)


def step_unless(optimiser: Optimizer, skipped: Tensor) -> None:
    """Take a step, but change neither weights nor moments where `skipped`, a truth on the device, holds.

    By what `torch.amp.GradScaler` hands to a fused optimiser: the kernel looks, so the host need not.
    """
    cast(Any, optimiser).found_inf = skipped.float()
    optimiser.step()
