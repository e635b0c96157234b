"""What a process is set to while it trains, and put back to afterwards: products of float32, and garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from catlipctl.settings.training import Precision


@contextmanager
def float32_products(device: torch.device, precision: Precision) -> Iterator[None]:
    """On a GPU, products and convolutions in float32 are TF32 if `precision` says so, else exact.

    torch's own default is a mixture: TF32 in convolutions, float32 in matrix products.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def garbage_frozen() -> Iterator[None]:
    """Inside, no garbage collection looks at what was alive before: it lives to the end.

    Libraries and a learner are 600,000 objects: a full collection takes a third of a second, on each process
    at a moment of its own, while all others wait. A small run of 600 steps had none; a long one has some.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
