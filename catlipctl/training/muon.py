"""Muon (Jordan et al. 2024): momentum, of whose matrices only the directions count; AdamW for all the rest.

A step moves a hidden matrix alike in all directions that it has, also in those that few images ask for.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of Newton and Schulz' iteration, chosen to be steep at 0: singular values end at about 0.7 to 1.2."""
MATCHED = 0.2
"""Root mean square of an AdamW step over its rate: with it both go by one rate (Liu et al. 2025, 2.2)."""
SMALLEST = 1e-7


class Muon(Optimizer):
    """Groups with `muon` step by it, others by fused AdamW; all have AdamW's rates and decoupled decay.

    Of a matrix `[A, B]` with gradient g: m = 0.95 m + 0.05 g, and it moves by lr 0.2 sqrt(max(A, B)) times
    the nearest orthogonal matrix of 0.05 g + 0.95 m (Nesterov). Convolutions are matrices of as many rows as
    they have outputs. These are `torch.optim.Muon`'s steps with `match_rms_adamw`, matrices of one shape
    at once. found_inf: on the device; where it is not 0 a step changes nothing.
    """

    found_inf: Tensor | None = None

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"lr": lr})
        rest = [group for group in self.param_groups if not group["muon"]]
        self._rest = torch.optim.AdamW(rest, lr=lr, betas=betas, eps=eps, fused=True) if rest else None
        if self._rest is not None:
            self._rest.state = self.state
        self.hidden = frozenset(p for group in self.param_groups if group["muon"] for p in group["params"])

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step on all gradients. The host waits for no device."""
        assert closure is None
        if self._rest is not None:
            self._rest.found_inf = self.found_inf  # type: ignore[attr-defined]
            self._rest.step()
        for group in self.param_groups:
            if not group["muon"]:
                continue
            alike = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.flatten(1).shape].append(parameter)
            for held in alike.values():
                self._move(held, group)

    def _move(self, held: list[Tensor], group: dict[str, Any]) -> None:
        """Matrices of one shape."""
        for parameter in held:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in held]
        gradients = torch.stack([parameter.grad.flatten(1) for parameter in held])  # type: ignore[union-attr]
        before = torch.stack([buffer.flatten(1) for buffer in buffers])
        moved = before.lerp(gradients, 1 - MOMENTUM)
        directions = orthogonal(gradients.lerp(moved, MOMENTUM))
        rate = group["lr"] * MATCHED * max(directions.shape[1:]) ** 0.5
        weights = torch.stack([parameter.flatten(1) for parameter in held])
        change = weights * (-group["lr"] * group["weight_decay"]) - rate * directions.to(weights)
        if self.found_inf is not None:
            skipped = self.found_inf > 0
            moved, change = torch.where(skipped, before, moved), torch.where(skipped, 0.0, change)
        shapes = [parameter.shape for parameter in held]
        torch._foreach_copy_(buffers, [new.view(shape) for new, shape in zip(moved, shapes, strict=True)])
        torch._foreach_add_(held, [by.view(shape) for by, shape in zip(change, shapes, strict=True)])


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the nearest orthogonal matrix of each of `[N, A, B]`: U V^T of U S V^T, by products alone.

    In bfloat16 on a GPU, as all implementations do; in float32 on a CPU, where bfloat16 is no faster.
    """
    found = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = found.shape[1] > found.shape[2]
    if tall:
        found = found.mT
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        squares = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(squares, squares, squares, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


def hidden_matrices(objective: nn.Module, head: nn.Module, outputs: Iterable[str] = ()) -> frozenset[str]:
    """Names of the parameters that Muon is for: weights of linear layers, of attention, of convolutions.

    Not those of the head and of the layers `outputs`, of convolutions that look at pixels or at one channel
    each, nor embeddings.
    """
    outside = set(head.modules())
    found = set()
    for name, module in objective.named_modules():
        if module in outside or name in outputs:
            continue
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.weight.shape[1] > 3):
            found.add(f"{name}.weight")
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            found.add(f"{name}.in_proj_weight")
    return frozenset(found)
