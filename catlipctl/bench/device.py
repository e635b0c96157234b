"""How fast a device is, and the largest batch that fits into it."""

import time
from collections.abc import Callable

from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.memory import trial
from catlipctl.bench.step_result import Device, Fitting
from catlipctl.errors import MachineError, OutOfMemory, UsageError
from catlipctl.pretraining.cost import measured
from catlipctl.progress import Progress
from catlipctl.training.tuning import float32_products
from catlipctl.training.utilisation import Utilisation
from catlipctl.training.world import World

MOST_TIMES = 16
"""Times the batch that was asked for, where the search for the largest one ends."""
GRAIN = 8
"""Images by which the search is exact, or a sixteenth of the batch if that is more."""
STEPS = 10
"""At the largest batch, all but the first of which are timed."""


def speed(comparison: Comparison, world: World) -> Device:
    """What large matrix products reach here, and what the maker states, in the case's precision."""
    precision = world.precision(comparison.precision)
    with float32_products(world.device, comparison.precision):
        # As steps are timed (`spans.timed`).
        by_cores = world.device.type == "cpu" and world.size == 1
        products = measured(world.device, precision, time.process_time if by_cores else time.perf_counter)
        peak = Utilisation(world, precision, {}).peak
    return Device(products=products, peak=peak and peak.flops, peak_of=peak and peak.of)


def must_search(world: World) -> None:
    """Raise what forbids the search for the largest batch: a CPU (MachineError), several processes."""
    if world.device.type == "cpu":
        raise MachineError(
            "--find-batch-size searches a GPU's memory; this is a CPU, whose memory all programs share",
            "leave it out, or take a machine with a GPU",
        )
    if world.size > 1:
        raise UsageError("several processes cannot search the largest batch", "measure with one")


def find_batch(entry: Entry, comparison: Comparison, world: World, progress: Progress) -> Fitting:
    """The largest batch at which steps of an entry fit into memory, each tried in a process of its own.

    OutOfMemory where the comparison's own batch does not fit.
    """
    peaks: dict[int, int] = {}

    def sized(batch: int) -> Comparison:
        return comparison.model_copy(update={"batch_size": batch})

    def fits(batch: int) -> bool:
        try:
            peaks[batch] = trial(entry, sized(batch), world).peak_bytes
        except OutOfMemory:
            progress.note(f"{entry.name}: {batch} images do not fit")
            return False
        progress.note(f"{entry.name}: {batch} images fit, in {peaks[batch] / 2**30:.1f} GiB")
        return True

    first = comparison.batch_size
    if not fits(first):
        raise OutOfMemory(f"{first} images a step do not fit into memory", "take a smaller --batch-size")
    found = largest(fits, first, MOST_TIMES * first)
    return Fitting(
        batch_size=found,
        peak_memory_bytes=peaks[found],
        searched_to=MOST_TIMES * first,
        images_per_second=found / trial(entry, sized(found), world, STEPS).seconds,
    )


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
