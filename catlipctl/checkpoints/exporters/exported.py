"""What an export is, and how it is told from a wrong one: it gives the checkpoint's own logits."""

import torch
from torch import Tensor

from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.results import Result

COMPARED_IMAGES = 5


class Exported(Result):
    """A checkpoint in another form.

    files: bytes by path. output: `logits`, or `features` of a tower without a head. largest_difference: to
    the checkpoint's own output on `COMPARED_IMAGES` images of noise, whose largest number is largest_output.
    remarks: what the form needs.
    """

    form: str
    out: str
    files: dict[str, int]
    architecture: str
    output: str
    largest_difference: float
    largest_output: float
    remarks: list[str]


def output_of(checkpoint: Checkpoint) -> str:
    """What the tower's module gives: `logits`, or `features` where it has no head."""
    return "logits" if checkpoint.tower.num_classes else "features"


@torch.inference_mode()
def compared(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """Images of noise as the tower wants them, `[5, 3, S, S]`, and what it makes of them, `[5, V]`."""
    size = checkpoint.tower.preprocessing.size
    images = torch.randn(COMPARED_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    return images, checkpoint.tower.module.eval()(images)
