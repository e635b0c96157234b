"""The peak memory of training one objective, in a process of its own: a high-water mark never falls."""

import json
import os
import subprocess
import sys

import torch
from accelerate.utils.other import get_free_port

from catlipctl.bench.contestants import CONTESTANTS
from catlipctl.bench.learners import Comparison
from catlipctl.errors import CatlipctlError, OutOfMemory
from catlipctl.results import high_water
from catlipctl.training.world import World

STEPS = 2
"""From its second step on, an optimiser's state lies beside gradients and activations."""


def peak_memory(name: str, comparison: Comparison, world: World) -> int:
    """Bytes that steps of the contestant of that name (`CatLIP`, ...) take, in each process of `world`.

    OutOfMemory where it does not fit.
    """
    job = {"contestant": name, "comparison": comparison.model_dump(), "cpu": world.device.type == "cpu"}
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
            f"{name} does not fit into memory with {comparison.batch_size} images a step",
            "take a smaller --batch-size",
        )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CatlipctlError(
            f"the process that measures {name}'s memory ended with {child.returncode}: {last}"
        )
    return world.maximum(int(json.loads(child.stdout.strip().splitlines()[-1])["peak_bytes"]))[0]


def _environment(world: World) -> dict[str, str]:
    """The children of several processes form a world like their parents', at a door of its own."""
    environment = dict(os.environ)
    if world.size > 1:
        environment["MASTER_PORT"] = str(world.on_main(get_free_port))
        # torchrun's own store listens at its port, none at ours: the first of the children must open one.
        environment.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    return environment


def measure(name: str, comparison: Comparison, world: World) -> int:
    """Train for a few steps in this process, which has done nothing else; bytes beyond those it had."""
    before = high_water()
    contestant = CONTESTANTS[name](comparison, world)
    for _ in range(STEPS):
        contestant.step(lambda _: None)
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device)
    return high_water() - before


def main() -> int:
    """Read the job from stdin, print the peak; exit 7 where memory was too small."""
    job = json.loads(sys.stdin.read())
    world = World(cpu=job["cpu"])
    try:
        peak = measure(job["contestant"], Comparison(**job["comparison"]), world)
    except (OutOfMemory, MemoryError, torch.OutOfMemoryError):
        return OutOfMemory.exit_code
    world.close()
    print(json.dumps({"peak_bytes": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
