"""How much of a device is used: against makers' figures, and a closed form."""

from dataclasses import replace

import psutil
import pytest
import torch

from catlipctl import models
from catlipctl.data.batch import Shape, Step
from catlipctl.settings.models import ModelSettings
from catlipctl.training.utilisation import Utilisation, published_peak
from catlipctl.training.world import World


@pytest.mark.parametrize(
    ("device", "bfloat16", "of"),
    [
        ("NVIDIA H100 80GB HBM3", 989, "H100 SXM, bfloat16, dense"),
        ("NVIDIA H100 PCIe", 756, "H100 PCIe, bfloat16, dense"),
        ("NVIDIA H200", 989, "H200 SXM, bfloat16, dense"),
        ("NVIDIA A100-SXM4-80GB", 312, "A100, bfloat16, dense"),
        ("NVIDIA L4", 121, "L4, bfloat16, dense"),
        ("NVIDIA L40S", 362, "L40S, bfloat16, dense"),
    ],
)
def test_a_device_has_the_peak_of_its_data_sheet(device: str, bfloat16: float, of: str) -> None:
    peak = published_peak(device, torch.bfloat16)
    assert peak is not None
    assert (peak.flops, peak.of) == (bfloat16 * 1e12, of)


@pytest.mark.parametrize(
    "device",
    ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA A10G", "NVIDIA RTX 4090 Laptop GPU", "cpu"],
)
def test_what_is_not_known_or_a_part_of_a_device_has_none(device: str) -> None:
    assert published_peak(device, torch.bfloat16) is None


def test_float32_goes_through_tensor_cores_where_it_is_allowed() -> None:
    peaks = [published_peak("NVIDIA A100-SXM4-40GB", torch.float32, tf32=tf32) for tf32 in (False, True)]
    assert [(peak.flops, peak.of) for peak in peaks if peak] == [
        (19.5e12, "A100, float32, dense"),
        (156e12, "A100, TF32, dense"),
    ]


def test_a_row_has_the_operations_of_forward_and_backward_and_the_memory_of_the_process() -> None:
    used = Utilisation(World(cpu=True), torch.float32, {Shape(32): 10**9})
    step = Step(index=0, size=32, rows=8, start=0)
    assert used.of_step(step) == 3 * 8e9
    row = used.row(used.of_step(step), 0.5)
    assert (row["tflops"], row["mfu"], used.peak) == (0.048, None, None)
    assert (row["peak_memory_bytes"] or 0) >= psutil.Process().memory_info().rss
    assert used.row(used.of_step(replace(step, size=64)), 0.5)["tflops"] is None


def test_a_tower_that_is_there_has_the_operations_of_one_to_be_made() -> None:
    settings = ModelSettings(name="resnet10t", image_size=32)
    tower = models.create(settings, 10, [32, 64])
    before = {name: value.clone() for name, value in tower.module.state_dict().items()}
    assert models.flops(tower, [32, 64]) == models.counts(settings, 10, [32, 64]).flops
    assert all(torch.equal(value, before[name]) for name, value in tower.module.state_dict().items())
