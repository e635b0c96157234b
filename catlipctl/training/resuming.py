"""Going on with a run: from its checkpoint, by the recipe that it was started with."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from catlipctl import checkpoints
from catlipctl.data.content import content_hash
from catlipctl.data.sample import Source
from catlipctl.errors import CheckpointError, DataError, UsageError
from catlipctl.recipe import dump, read
from catlipctl.results import library_versions
from catlipctl.training import optimiser as optimisers
from catlipctl.training.plan import Plan
from catlipctl.training.recipe import FREE_ON_RESUME, PretrainRecipe
from catlipctl.training.saving import TrainingState


def restore(checkpoint: Path, state: TrainingState) -> dict[str, Any]:
    """Put a checkpoint into a freshly made state; returns its circumstances."""
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


def circumstances(source: Source, agreed: Plan) -> dict[str, Any]:
    """What decides a run's losses and stands in no recipe; saved with each checkpoint."""
    return {
        "data": {"samples": len(source), "content": content_hash(source)},
        "processes": agreed.processes,
        "micro_batch": agreed.micro_batch,
        "threads": torch.get_num_threads(),
        "versions": library_versions(),
    }


def differences(before: dict[str, Any], now: dict[str, Any], module: nn.Module) -> list[str]:
    """Warnings of circumstances that a run has no longer; DataError for other data."""
    if before["data"] != now["data"]:
        was, is_ = (
            f"{of['data']['samples']:,} samples (content {of['data']['content']})" for of in (before, now)
        )
        raise DataError(
            f"the data is not what this run was trained on: {was} before, {is_} now",
            "resume with the same data, or start a new run by --out",
        )
    warnings = []
    if before["threads"] != now["threads"]:
        warnings.append(
            f"the run had {before['threads']} threads, now {now['threads']}: "
            "losses may differ in the last digits"
        )
    was, is_ = (f"{of['micro_batch']} images in each of {of['processes']} processes" for of in (before, now))
    if was != is_ and any(isinstance(part, _BatchNorm) for part in module.modules()):
        warnings.append(
            f"the run had {was}, now {is_}: the tower's BatchNorm takes its statistics over these, "
            "so losses will differ"
        )
    return warnings


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
