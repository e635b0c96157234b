"""What it means for a person that a step failed: no memory, or too few images for a BatchNorm."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from catlipctl.errors import OutOfMemory, UsageError
from catlipctl.results import high_water


@contextmanager
def errors_explained(images: int, device: torch.device, *, recomputes: bool) -> Iterator[None]:
    """Raise OutOfMemory where the body gets no memory, UsageError where BatchNorm gets one image alone."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):
            raise
        raise UsageError(
            "the tower's BatchNorm cannot take statistics of one image alone",
            "raise device_batch_size or global_batch_size: give each process two images at once",
        ) from error
    except (RuntimeError, MemoryError) as error:
        # torch has no class of its own for memory that a CPU does not have.
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
        name = "cpu" if device.type == "cpu" else str(device)
        levers = [
            f"--set device_batch_size={images // 2} accumulates the same global batch in smaller pieces"
            if images > 1
            else "take a smaller tower or image",
            *([] if recomputes else ["--set activation_checkpointing=true keeps less of each image"]),
        ]
        raise OutOfMemory(
            f"out of memory with {images} images on {name} ({_peak(device)})", "; ".join(levers)
        ) from error


def _peak(device: torch.device) -> str:
    """The most memory that this process has had: tensors on a GPU, all that was resident elsewhere."""
    if device.type != "cuda":
        return f"peak {high_water() / 2**30:.2f} GiB resident"
    total = torch.cuda.get_device_properties(device).total_memory
    return f"peak {torch.cuda.max_memory_allocated(device) / 2**30:.2f} of {total / 2**30:.2f} GiB"
