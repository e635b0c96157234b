"""What a pre-training run would be refused for, and what it would cost, without starting it."""

from pathlib import Path

from catlipctl import models, objectives
from catlipctl.data.batch import Shape
from catlipctl.data.sample import Source
from catlipctl.pretraining import cost
from catlipctl.pretraining.assembly import forward_flops
from catlipctl.pretraining.checks import Checks, Place
from catlipctl.pretraining.estimate import Counts, DryRun, Plan, ValidationCost, estimate
from catlipctl.pretraining.probe import probe
from catlipctl.progress import SILENT, Progress
from catlipctl.recipe import Loaded
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import launch
from catlipctl.training.steps import planned
from catlipctl.training.utilisation import BACKWARD
from catlipctl.vocabulary import Vocabulary


def dry_run(
    loaded: Loaded[PretrainRecipe],
    place: Place = Place(),
    *,
    probed: bool = False,
    progress: Progress = SILENT,
) -> DryRun:
    """Every value of the recipe with its origin, the checks of the run, its arithmetic and its cost.

    probed: take three real steps in this process, if the run would not be refused. UsageError at once for a
    tower that cannot be made.
    """
    recipe = loaded.value
    base, sizes = recipe.model.image_size, recipe.image_sizes(recipe.model.image_size)
    checks = Checks()
    devices, start, given, order, held_out = checks.all(recipe, place, progress)
    begun = start.step, start.samples
    schedule = checks.of(lambda: planned(recipe, base, None if order is None else order.samples, begun))
    classes = _classes(recipe, given)
    processes = launch.world_size(place.gpus, place.processes)
    plan = Plan(loaded, base, schedule, start.step, processes, devices, ("data.workers", recipe.data.workers))
    outputs = objectives.find(recipe.objective).head_size(recipe.objective_settings, classes or 2)
    # Raises what the run would for a tower that cannot be made, or that does not take all sizes.
    counts = _counts(recipe, classes, sizes)
    found = estimate(plan, counts, checks, lambda step: cost.memory(recipe, outputs, step, devices))
    found.validation = _validation(recipe, found, held_out, classes, counts.flops[Shape(base)])
    if probed and devices is not None and not found.refusals:
        _add_probe(found, recipe, devices, given or classes or 2, place.cache_dir, base)
    return found


def _counts(recipe: PretrainRecipe, classes: int | None, sizes: list[int]) -> Counts:
    base = recipe.model.image_size
    bare, with_one = (models.counts(recipe.model, count, [base]) for count in (2, 3))
    per_class = with_one.parameters - bare.parameters
    total = bare.parameters + per_class * ((classes or 0) - 2)
    whole = models.counts(recipe.model, classes or 2, sizes)
    total += objectives.find(recipe.objective).parameters_beside(recipe.objective_settings, whole.features)
    return Counts(classes, total, per_class, total, forward_flops(recipe, classes or 2))


def _validation(
    recipe: PretrainRecipe, found: DryRun, held_out: Source | None, classes: int | None, flops: int
) -> ValidationCost | None:
    """flops: of an image's forward pass at the model's own size."""
    settings = recipe.validation
    if settings is None or held_out is None or found.steps is None:
        return None
    images = min(settings.samples, len(held_out))
    times = -(-found.steps // settings.every) - found.steps_before // settings.every
    scores = 4 * -(-images // found.processes) * classes if classes else None
    if not objectives.find(recipe.objective).needs_classes:
        scores = None
    share = found.flops and times * images * flops / found.flops
    return ValidationCost(times=times, images=images, share=share, scores_bytes=scores)


def _classes(recipe: PretrainRecipe, given: Vocabulary | None) -> int | None:
    """Outputs of the head, where they are known before a vocabulary is counted."""
    kind = objectives.find(recipe.objective)
    if not kind.needs_classes:
        return kind.head_size(recipe.objective_settings, None)
    return recipe.vocabulary.max_size if given is None else len(given)


def _add_probe(
    found: DryRun,
    recipe: PretrainRecipe,
    devices: launch.Devices,
    classes: Vocabulary | int,
    cache_dir: Path | None,
    base: int,
) -> None:
    """Three real steps; the time of the run is then theirs, by the operations of each size."""
    found.probe = probe(recipe, found.process_batch, classes, cpu=devices.cpu, cache_dir=cache_dir)
    # Its steps are the first of a run.
    first = Shape(base, recipe.model.token_drop if recipe.model.unmasked_tuning < 1 else 0.0)
    flops_of_base = forward_flops(recipe, found.vocabulary_size or 2)[first]
    if found.flops is not None:
        # Process by process: each has its share of every step.
        steps = found.flops / (BACKWARD * flops_of_base * recipe.global_batch_size)
        found.seconds = steps * found.probe.milliseconds / 1000
