"""What `bench step` measures where nothing else is asked for, and what it refuses."""

from pathlib import Path

import open_clip
import pytest
import timm
import torch

from catlipctl.bench.configuration import find, image_trunk
from catlipctl.bench.step import StepSettings, step
from catlipctl.errors import MachineError, UsageError

CPU = torch.device("cpu")


def test_the_default_case_is_open_clips_and_has_timms_vit_small() -> None:
    (default,) = StepSettings().comparisons(CPU)
    assert default.model in open_clip.list_models()
    (on_gpu,) = StepSettings().comparisons(torch.device("cuda"))
    assert on_gpu.model in open_clip.list_models()
    with torch.device("meta"):
        trunk, width = image_trunk(find(default.model))
        classes = default.classes_of("catlip")
        same = timm.create_model("vit_small_patch16_224", pre_norm=True, num_classes=classes)
    parameters, others = (sum(p.numel() for p in model.parameters()) for model in (trunk, same))
    assert parameters + (width + 1) * classes == others


def test_lists_are_all_combinations() -> None:
    settings = StepSettings(
        models=["a", "b"], image_sizes=[32, None], precisions=["float32"], batch_sizes=[2, 4]
    )
    found = [(one.model, one.image_size, one.batch_size) for one in settings.comparisons(CPU)]
    assert found == [(m, s, b) for m in "ab" for s in (32, None) for b in (2, 4)]


def test_devices_share_out_over_nodes() -> None:
    clusters = StepSettings(estimate=[64, 4]).clusters(1)
    assert [(one.processes, one.nodes, one.per_node) for one in clusters] == [(64, 8, 8), (4, 1, 8)]
    assert StepSettings(estimate=[64], nodes=16).clusters(1)[0].per_node == 4
    assert [one.processes for one in StepSettings().clusters(2)] == [2]
    with pytest.raises(UsageError, match="7 nodes"):
        StepSettings(estimate=[64], nodes=7).clusters(1)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"find_batch": True}, MachineError, "CPU"),
        ({"objectives": ["catlip", "clop"]}, UsageError, "clop"),
        ({"plain": True, "ema": True}, UsageError, "plain"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is(
    changes: dict[str, object], error: type[Exception], says: str, tiny: Path
) -> None:
    with pytest.raises(error, match=says):
        step(StepSettings(models=[str(tiny)], **changes), cpu=True)  # type: ignore[arg-type]
