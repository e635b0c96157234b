"""What a run would cost, without its data and without its devices."""

from pathlib import Path

from catlipctl import vocabulary
from catlipctl.recipe import Loaded
from catlipctl.recipe.schema import leaves
from catlipctl.training.plan import checkpoint_bytes, parameters, plan
from catlipctl.training.recipe import PretrainRecipe
from catlipctl.training.results import DryRun, Value


def dry_run(loaded: Loaded[PretrainRecipe], processes: int) -> DryRun:
    """Every value of the recipe with its origin, and the arithmetic of the run on `processes`."""
    recipe = loaded.value
    agreed = plan(recipe, processes)
    classes = _vocabulary_size(recipe)
    bare, with_one = parameters(recipe, 2), parameters(recipe, 3)
    per_class = with_one - bare
    total = bare + per_class * ((classes or 0) - 2)
    averaged = recipe.ema.momentum is not None
    return DryRun(
        values=[Value(key=key, value=value, origin=loaded.origins[key]) for key, value in leaves(recipe)],
        steps=agreed.steps,
        images=agreed.samples,
        processes=processes,
        process_batch=agreed.process_batch,
        micro_batch=agreed.micro_batch,
        accumulation=agreed.accumulation,
        vocabulary_size=classes,
        parameters=total,
        parameters_per_class=per_class,
        checkpoint_bytes=None if classes is None else checkpoint_bytes(total, averaged=averaged),
        warnings=list(agreed.warnings),
    )


def _vocabulary_size(recipe: PretrainRecipe) -> int | None:
    path = recipe.vocabulary.path
    # Another machine may have the file; the run itself will say if not.
    return len(vocabulary.load(Path(path))) if path is not None and Path(path).exists() else None
