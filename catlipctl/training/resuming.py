"""Going on with a run: from its checkpoint, by the recipe that it was started with."""

from pathlib import Path
from typing import Any

import safetensors.torch
import yaml
from torch import Tensor

from catlipctl import checkpoints
from catlipctl.errors import CheckpointError, UsageError
from catlipctl.recipe import dump, read
from catlipctl.training import optimiser as optimisers
from catlipctl.training.recipe import FREE_ON_RESUME, PretrainRecipe
from catlipctl.training.saving import TrainingState


def restore(checkpoint: Path, state: TrainingState) -> dict[str, Any]:
    """Put a checkpoint into a freshly made state; returns what else was saved (threads, versions)."""
    checkpoints.verify(checkpoint)
    tensors, saved = checkpoints.read_state(checkpoint)
    weights = safetensors.torch.load_file(checkpoint / "model.safetensors")
    raw = _under("objective/", tensors)
    try:
        if state.average is None:
            raw |= {f"model.{name}": value for name, value in weights.items()}
        else:
            state.average.module.load_state_dict(weights)
        state.objective.load_state_dict(raw)
        optimisers.load_named_state(state.optimiser, state.objective, _under("optimiser/", tensors))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint} holds another model than the recipe: {str(error).splitlines()[0]}",
            "resume with the recipe of the run (its recipe.yaml)",
        ) from error
    state.step = int(saved["step"])
    state.totals = dict(saved["totals"])
    return saved


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def refuse_changes(path: Path, recipe: PretrainRecipe) -> None:
    """UsageError with a diff if the recipe differs from the run's own in what decides its losses."""
    before, after = (_deciding(document) for document in (read(path), yaml.safe_load(dump(recipe))))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if not changed:
        return
    difference = [f"  {key}: {before.get(key)} in {path}, {after.get(key)} now" for key in changed]
    raise UsageError(
        "the recipe is not the one that this run was started with\n" + "\n".join(difference),
        "resume without these changes, or start another run by --out",
    )


def _deciding(document: dict[str, Any]) -> dict[str, Any]:
    """A recipe's document, flat, without the keys that may change on resuming."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        elif prefix not in FREE_ON_RESUME:
            flat[prefix] = value

    walk("", document)
    return flat
