"""A folder as timm and the Hugging Face Hub want it: weights, config.json and a model card."""

from pathlib import Path

import timm
import torch

from catlipctl import files as atomic
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.directory import CONFIG, WEIGHTS
from catlipctl.checkpoints.exporters.card import model_card
from catlipctl.checkpoints.exporters.exported import Exported, compared, output_of
from catlipctl.checkpoints.writing import contents, save_tensors
from catlipctl.errors import CheckpointError

CARD = "README.md"
TOLERANCE = 1e-5
"""Of the largest logit: the same arithmetic on the same weights."""


def export_timm(checkpoint: Checkpoint, out: Path) -> Exported:
    """Write the folder `out`, which `timm.create_model("local-dir:OUT", pretrained=True)` opens.

    timm opens it, and its logits are compared with the checkpoint's, before it appears. Raises UsageError
    where `out` exists, CheckpointError for a tower that timm cannot say.
    """
    atomic.refuse_taken(out)
    with atomic.replacing(out) as folder:
        folder.mkdir()
        try:
            written = contents(
                tower=checkpoint.tower,
                config=checkpoint.config,
                problem_type=checkpoint.problem_type,
                label_names=checkpoint.label_names,
                label_descriptions=checkpoint.label_descriptions or None,
            )
            configuration, weights = written[CONFIG], written[WEIGHTS]
            assert callable(configuration)
            assert not callable(weights)
            (folder / CONFIG).write_text(configuration(), encoding="utf-8")
            save_tensors(weights, folder / WEIGHTS)
            difference, largest = _differences(checkpoint, folder)
        except (RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise _refusal(checkpoint, str(error).splitlines()[0] if str(error) else repr(error)) from error
        if not difference <= TOLERANCE * max(largest, 1):
            raise _refusal(checkpoint, f"the logits of what timm opens differ by {difference:.3g}")
        remarks = _remarks(checkpoint)
        (folder / CARD).write_text(model_card(checkpoint, remarks), encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return Exported(
        form="timm",
        out=str(out),
        files={str(out / name): size for name, size in sizes.items()},
        architecture=checkpoint.tower.name,
        output=output_of(checkpoint),
        largest_difference=difference,
        largest_output=largest,
        remarks=remarks,
    )


@torch.inference_mode()
def _differences(checkpoint: Checkpoint, folder: Path) -> tuple[float, float]:
    """The largest difference of what timm opens to the checkpoint, and the largest output of that."""
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images, expected = compared(checkpoint)
    found = opened(images)
    if found.shape != expected.shape:
        raise ValueError(f"what timm opens gives {tuple(found.shape)}, not {tuple(expected.shape)}")
    return float((found - expected).abs().max()), float(expected.abs().max())


def _remarks(checkpoint: Checkpoint) -> list[str]:
    if type(checkpoint.tower.module).__module__.startswith("timm."):
        return []
    return [
        f"{checkpoint.tower.name} is not in timm itself: `import catlipctl.models` registers it. "
        "Without that import timm says 'Unknown model'."
    ]


def _refusal(checkpoint: Checkpoint, reason: str) -> CheckpointError:
    return CheckpointError(
        f"timm cannot open {checkpoint.name} as it is: {reason}",
        "export it by --to onnx, which asks for no class of timm's",
    )
