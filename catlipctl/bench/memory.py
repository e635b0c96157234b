"""Steps of one contestant in a process of its own, for its peak memory: a high-water mark never falls."""

import json
import os
import statistics
import subprocess
import sys
from typing import NamedTuple

import torch
from accelerate.utils.other import get_free_port

from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.contestants import build
from catlipctl.bench.spans import timed
from catlipctl.errors import CatlipctlError, OutOfMemory
from catlipctl.results import high_water
from catlipctl.training.tuning import float32_products
from catlipctl.training.world import World

STEPS = 2
"""From its second step on, an optimiser's state lies beside gradients and activations."""


class Trial(NamedTuple):
    """Steps in a fresh process: bytes that they took at their peak, and the last ones' median seconds."""

    peak_bytes: int
    seconds: float


def trial(entry: Entry, comparison: Comparison, world: World, steps: int = STEPS) -> Trial:
    """Take some steps of a contestant, each process of `world` in a child of its own; the largest peak.

    OutOfMemory where they do not fit.
    """
    cpu = world.device.type == "cpu"
    job = {"entry": entry.model_dump(), "comparison": comparison.model_dump(), "cpu": cpu, "steps": steps}
    child = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        env=_environment(world),
    )
    if child.returncode in (-9, OutOfMemory.exit_code):
        raise OutOfMemory(
            f"{entry.name} does not fit into memory with {comparison.batch_size} images a step",
            "take a smaller --batch-size",
        )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CatlipctlError(
            f"the process that measures {entry.name}'s memory ended with {child.returncode}: {last}"
        )
    found = json.loads(child.stdout.strip().splitlines()[-1])
    return Trial(world.maximum(int(found["peak_bytes"]))[0], found["seconds"])


def _environment(world: World) -> dict[str, str]:
    """The children of several processes form a world like their parents', at a door of its own."""
    environment = dict(os.environ)
    if world.size > 1:
        environment["MASTER_PORT"] = str(world.on_main(get_free_port))
        # torchrun's own store listens at its port, none at ours: the first of the children must open one.
        environment.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    return environment


def measure(entry: Entry, comparison: Comparison, world: World, steps: int) -> Trial:
    """Train for a few steps in this process, which has done nothing else; bytes beyond those it had."""
    before = high_water()
    with float32_products(world.device, comparison.precision):
        contestant = build(entry, comparison, world)
        seconds = [sum(timed(contestant, world.device, alone=world.size == 1).values()) for _ in range(steps)]
    peak = high_water() - before
    if world.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(world.device)
    return Trial(peak, statistics.median(seconds[STEPS - 1 :]))


def main() -> int:
    """Read the job from stdin, print the trial; exit 7 where memory was too small."""
    job = json.loads(sys.stdin.read())
    world = World(cpu=job["cpu"])
    try:
        found = measure(Entry(**job["entry"]), Comparison(**job["comparison"]), world, job["steps"])
    except (OutOfMemory, MemoryError, torch.OutOfMemoryError):
        return OutOfMemory.exit_code
    world.close()
    print(json.dumps(found._asdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
