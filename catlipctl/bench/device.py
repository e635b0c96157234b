"""What a step makes of a device: of its speed, of its memory, and how much of the step is head and loss."""

import time
from collections.abc import Callable

import torch

from catlipctl.bench.learners import Comparison
from catlipctl.bench.loss import LossSettings, learning, made_up_head
from catlipctl.bench.memory import peak_memory
from catlipctl.bench.result import DeviceUse, Fitting, Spread
from catlipctl.errors import OutOfMemory, UsageError
from catlipctl.objectives.losses import bce
from catlipctl.pretraining.cost import measured
from catlipctl.progress import Progress
from catlipctl.training.utilisation import Utilisation
from catlipctl.training.world import World

TRIES = 6
"""Of head and loss alone, the first of which does not count."""
MOST_TIMES = 16
"""Times the batch that was asked for, where the search for the largest one ends."""
GRAIN = 8
"""Images by which the search is exact, or a sixteenth of the batch if that is more."""


def device_use(
    comparison: Comparison, width: int, recompiled: int, largest: Fitting | None, world: World
) -> DeviceUse:
    """width: of the features that the head is given."""
    precision = world.precision("auto")
    peak = Utilisation(world, precision, {}).peak
    return DeviceUse(
        products=measured(world.device, precision),
        peak=peak and peak.flops,
        peak_of=peak and peak.of,
        head_and_loss=head_and_loss(comparison, width, world),
        recompiled=recompiled,
        largest=largest,
    )


def head_and_loss(comparison: Comparison, width: int, world: World) -> Spread:
    """Seconds of CatLIP's head and loss alone, forward and backward, in one process's shapes of the step."""
    settings = LossSettings(
        batch_size=comparison.batch_size, classes=comparison.classes, width=width, seed=comparison.seed
    )
    head, features, pairs = made_up_head(settings, world)
    way = learning(head, features, lambda logits: bce(logits, pairs))
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        way(1)
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        seconds.append(time.perf_counter() - start)
    return Spread.of(seconds[1:])


def find_batch(comparison: Comparison, world: World, progress: Progress) -> Fitting:
    """The largest batch at which steps of CatLIP fit into memory, each tried in a process of its own.

    UsageError where several processes measure, OutOfMemory where the comparison's own batch does not fit.
    """
    if world.size > 1:
        raise UsageError("several processes cannot search the largest batch", "measure with one")
    peaks: dict[int, int] = {}

    def fits(batch: int) -> bool:
        try:
            peaks[batch] = peak_memory("CatLIP", comparison.model_copy(update={"batch_size": batch}), world)
        except OutOfMemory:
            progress.note(f"{batch} images do not fit")
            return False
        progress.note(f"{batch} images fit, in {peaks[batch] / 2**30:.1f} GiB")
        return True

    first = comparison.batch_size
    if not fits(first):
        raise OutOfMemory(f"{first} images a step do not fit into memory", "take a smaller --batch-size")
    found = largest(fits, first, MOST_TIMES * first)
    return Fitting(batch_size=found, peak_memory_bytes=peaks[found], searched_to=MOST_TIMES * first)


def largest(fits: Callable[[int], bool], first: int, most: int) -> int:
    """About the largest number up to `most` that fits: doubled from `first`, which does, then between two."""
    good = first
    while (tried := min(2 * good, most)) > good:
        if not fits(tried):
            break
        good = tried
    bad = tried
    while bad - good > max(GRAIN, good // 16):
        middle = (good + bad) // 2
        middle -= middle % GRAIN if middle - middle % GRAIN > good else 0
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good
