"""How much of a device a run uses: operations a second, and their share of the peak that its maker states.

Operations are the model's: products, convolutions and attention of the forward pass, three times (each
product gives two gradients). What activation checkpointing computes again is no progress, and left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from catlipctl.data.batch import Shape, Step
from catlipctl.results import high_water
from catlipctl.training.world import World

BACKWARD = 3
"""Operations of forward and backward over those of forward: each product gives two gradients."""


class Peak(NamedTuple):
    """Operations a second, dense, as the maker's data sheet has them, and of what."""

    flops: float
    of: str


class _Device(NamedTuple):
    """What a data sheet says of a device, in TFLOP/s without sparsity; None where it says nothing."""

    name: str
    bfloat16: float
    tf32: float | None = None
    float32: float | None = None


# A part of the name that torch tells -> what the data sheet says. The first that fits counts. Data sheets
# state tensor cores with sparsity: half of that is dense.
DEVICES = {
    # NVIDIA H100 and H200 data sheets; GH200's is H100 SXM's GPU.
    "H100 NVL": _Device("H100 NVL", 835.5, 417.5, 60),
    "H100 PCIe": _Device("H100 PCIe", 756, 378, 51),
    "H100": _Device("H100 SXM", 989, 494.5, 67),
    "H200 NVL": _Device("H200 NVL", 835.5, 417.5, 60),
    "H200": _Device("H200 SXM", 989, 494.5, 67),
    "GH200": _Device("GH200", 989, 494.5, 67),
    # NVIDIA HGX B200 data sheet, an eighth of the board's 36 PFLOP/s, halved.
    "B200": _Device("B200", 2250),
    # NVIDIA A100, A40, A10, L40S and L4 data sheets.
    "A100": _Device("A100", 312, 156, 19.5),
    "A40": _Device("A40", 149.7, 74.8, 37.4),
    "NVIDIA A10": _Device("A10", 125, 62.5, 31.2),
    "L40S": _Device("L40S", 362, 183, 91.6),
    "NVIDIA L4": _Device("L4", 121, 60, 30.3),
    # NVIDIA Ada and GA102 white papers, appendix A: with sums in float32.
    "RTX 4090": _Device("RTX 4090", 165.2, 82.6, 82.6),
    "RTX 3090": _Device("RTX 3090", 71, 35.6, 35.6),
    # AMD Instinct MI300X data sheet.
    "MI300X": _Device("MI300X", 1307.4, 653.7, 163.4),
}


OTHERS = (" MIG ", " Laptop ", " 4090 D ")
"""Parts of names of devices that are less than what the same name says without them."""


def published_peak(device: str, precision: torch.dtype, *, tf32: bool = False) -> Peak | None:
    """Of a device by the name that torch tells; None where it is not known.

    precision: of the forward pass. tf32: do products of float32 go through the tensor cores?
    """
    words = f" {device.replace('-', ' ')} "
    fitting = (known for part, known in DEVICES.items() if f" {part} " in words)
    found = next(fitting, None)
    if found is None or any(part in words for part in OTHERS):
        return None
    what = "bfloat16" if precision == torch.bfloat16 else "TF32" if tf32 else "float32"
    number = {"bfloat16": found.bfloat16, "TF32": found.tf32, "float32": found.float32}[what]
    return None if number is None else Peak(number * 1e12, f"{found.name}, {what}, dense")


@dataclass(frozen=True)
class Utilisation:
    """Of each device of a run. flops: of an image's forward pass, by its shape; none: not counted."""

    world: World
    precision: torch.dtype
    flops: Mapping[Shape, int]

    @property
    def peak(self) -> Peak | None:
        """The published one of this process's device; None on a CPU, and where it is not known."""
        device = self.world.device
        if device.type != "cuda":
            return None
        tf32 = torch.backends.cuda.matmul.fp32_precision == "tf32"
        return published_peak(torch.cuda.get_device_name(device), self.precision, tf32=tf32)

    def of_step(self, step: Step) -> float:
        """Operations of each device in a step, forward and backward."""
        return BACKWARD * self.flops.get(step.shape, 0) * step.rows / self.world.size

    def row(self, flops: float, seconds: float) -> dict[str, float | None]:
        """For a row of metrics: TFLOP/s of each device, their share of the peak, and memory at its peak.

        That is of all tensors on a GPU, of the whole process on a CPU.
        """
        device, peak = self.world.device, self.peak
        on_gpu = device.type == "cuda"
        rate = flops / seconds
        return {
            "tflops": round(rate / 1e12, 4) if flops else None,
            "mfu": round(rate / peak.flops, 4) if flops and peak else None,
            "peak_memory_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else high_water(),
        }
