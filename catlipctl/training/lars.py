"""LARS (You et al. 2017): momentum, with each matrix's gradient scaled by the norm of its weights.

As MAE's linear probe has it: vectors are not scaled, so biases take steps of plain momentum.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Norms = Callable[[Sequence[Tensor]], Tensor]
"""Tensors that a process holds, or shards of them -> `[N]`, the norms of the whole tensors."""


def norms_of(tensors: Sequence[Tensor]) -> Tensor:
    """`[N]`, the norms of tensors that are whole."""
    return torch.stack(torch._foreach_norm(list(tensors)))


class Lars(Optimizer):
    """Of each tensor w with gradient g: m = momentum m + ratio (g + decay w), w -= lr m.

    ratio: trust |w| / (|g| + decay |w| + eps) of tensors of two and more dimensions, 1 of others and where a
    norm is 0. found_inf: on the device; where it is not 0 a step changes nothing, as of fused AdamW.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        trust: float = 1e-3,
        eps: float = 1e-8,
        norms: Norms = norms_of,
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "trust": trust, "eps": eps})
        self._norms = norms

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step on all gradients. The host waits for no device; where tensors are sharded all call."""
        assert closure is None
        for group in self.param_groups:
            held = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not held:
                continue
            own = [parameter.grad for parameter in held]
            gradients = torch._foreach_add(own, held, alpha=group.get("weight_decay", 0.0))
            self._scale(gradients, held, group)
            for parameter, gradient in zip(held, gradients, strict=True):
                self._move(parameter, gradient, group)

    def _scale(self, gradients: Sequence[Tensor], held: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Scale the gradients of matrices, in place."""
        matrices = [i for i, parameter in enumerate(held) if parameter.ndim > 1]
        if not matrices:
            return
        weights = [held[i] for i in matrices]
        own = [weight.grad for weight in weights if weight.grad is not None]
        # One call for both: where tensors are sharded it is a message.
        both = self._norms([*weights, *own])
        of_weights, of_gradients = both.split(len(weights))
        ratios = (
            group["trust"]
            * of_weights
            / (of_gradients + of_weights * group.get("weight_decay", 0.0) + group["eps"])
        )
        ratios = torch.where((of_weights > 0) & (of_gradients > 0), ratios, 1.0)
        torch._foreach_mul_([gradients[i] for i in matrices], list(ratios.unbind()))

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"]
        moved = buffer * group["momentum"] + gradient
        change = moved * -group["lr"]
        if self.found_inf is not None:
            skipped = self.found_inf > 0
            moved, change = torch.where(skipped, buffer, moved), torch.where(skipped, 0.0, change)
        buffer.copy_(moved)
        parameter.add_(change)
