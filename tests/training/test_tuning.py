"""What training sets in a process, as torch and Python's collector tell it, and that it is put back."""

import gc
from contextlib import suppress

import pytest
import torch

from catlipctl.errors import MachineError
from catlipctl.training.tuning import float32_products, garbage_frozen
from catlipctl.training.world import World


def flags() -> tuple[str, bool, bool]:
    backends = torch.backends
    return (
        torch.get_float32_matmul_precision(),
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
    )


def test_float32_is_exact_on_a_gpu_unless_tf32_is_asked_for() -> None:
    before, gpu = flags(), torch.device("cuda")
    with float32_products(gpu, "float32"):
        assert flags() == ("highest", False, False)
    with suppress(RuntimeError), float32_products(gpu, "tf32"):
        assert flags() == ("high", True, True)
        raise RuntimeError
    assert flags() == before
    with float32_products(torch.device("cpu"), "float32"):
        assert flags() == before


def test_a_cpu_has_no_tf32() -> None:
    with pytest.raises(MachineError, match="cpu computes no TF32"):
        World(cpu=True).precision("tf32")


def test_what_is_alive_is_no_more_looked_at_and_is_afterwards_also_if_training_fails() -> None:
    alive: list[object] = [[]]
    alive.append(alive)
    with suppress(RuntimeError), garbage_frozen():
        assert gc.is_tracked(alive)
        assert not any(it is alive for it in gc.get_objects())
        new: list[object] = []
        assert any(it is new for it in gc.get_objects())
        raise RuntimeError
    assert gc.get_freeze_count() == 0
    assert any(it is alive for it in gc.get_objects())
