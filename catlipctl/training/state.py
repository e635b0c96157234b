"""What a checkpoint holds of a learner beside its tower, under names that no distribution changes; and back.

`objective/` are weights and buffers, `average/` their averages, `optimiser/PARAMETER/` the moments. The tower
is `model.safetensors`: the average where there is one, and the raw weights are then all in `objective/`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from catlipctl.checkpoints.pieces import Piece
from catlipctl.training.average import Average
from catlipctl.training.distribution import Distribution

TOWER = "model."


def of_tower(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An objective's weights that are the tower's with its head, under its own names."""
    return {name.removeprefix(TOWER): v for name, v in weights.items() if name.startswith(TOWER)}


def saved(
    distribution: Distribution, optimiser: Optimizer, average: Average | None
) -> dict[str, Tensor | Piece]:
    """All of it that this process is to save."""
    raw, averages = distribution.held, {}
    if average is None:
        raw = {name: value for name, value in raw.items() if not name.startswith(TOWER)}
    else:
        averages = {name: value for name, value in average.values.items() if not name.startswith(TOWER)}
    moments = {
        f"{name}/{moment}": value
        for name, parameter in distribution.learned.items()
        for moment, value in optimiser.state.get(parameter, {}).items()
    }
    kinds = {"objective": raw, "average": averages, "optimiser": moments}
    return {
        f"{kind}/{name}": value
        for kind, values in kinds.items()
        for name, value in distribution.pieces(values).items()
    }


@torch.no_grad()
def load(
    distribution: Distribution,
    optimiser: Optimizer,
    moments: Callable[[Tensor], Sequence[str]],
    average: Average | None,
    tower: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    without_moments: Iterable[str] = (),
) -> None:
    """Go on from a tower's weights and what `saved` gave, however it was distributed then.

    moments: what the optimiser remembers of a parameter. without_moments: parameters that never had a
    gradient. KeyError or RuntimeError names what is missing, is of another model, or does not fit.
    """
    known: set[str] = set()
    kinds = {"objective": distribution.held}
    if average is not None:
        kinds["average"] = average.values
    for kind, values in kinds.items():
        in_tower = kind == "average" or average is None
        for name, value in values.items():
            of, key = state, f"{kind}/{name}"
            if in_tower and name.startswith(TOWER):
                of, key = tower, name.removeprefix(TOWER)
            known.add(key)
            value.copy_(_fitting(distribution.own(name, of, key), value.shape, key, value.dtype))
    for name in distribution.learned.keys() - set(without_moments):
        parameter = distribution.learned[name]
        for moment in moments(parameter):
            key = f"optimiser/{name}/{moment}"
            known.add(key)
            shape = torch.Size() if moment == "step" else parameter.shape
            found = state[key] if moment == "step" else distribution.own(name, state, key)
            # Fused AdamW counts steps on the parameter's device. A part of a tensor would keep all of it.
            value = torch.empty(shape, dtype=found.dtype, device=parameter.device)
            optimiser.state[parameter][moment] = value.copy_(_fitting(found, shape, key))
    unknown = (tower.keys() | state.keys()) - known
    if unknown:
        raise KeyError(min(unknown))


def _fitting(found: Tensor, shape: torch.Size, key: str, like: torch.dtype = torch.float32) -> Tensor:
    if found.shape != shape or found.is_floating_point() != like.is_floating_point:
        raise RuntimeError(f"{key} is {found.dtype} of shape {list(found.shape)}, not of {list(shape)}")
    return found
