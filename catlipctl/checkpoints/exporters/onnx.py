"""An ONNX file: images of any batch size to logits, in fp32 or fp16, with labels and preprocessing inside.

Its input is float32 `[batch, 3, S, S]` in either precision, scaled and standardised as the metadata's
`preprocessing` says, and its output float32: who serves one may put the other in its place.
"""

import copy
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import catlipctl
from catlipctl import files as atomic
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.exporters.exported import Exported, compared, output_of
from catlipctl.errors import CheckpointError, MachineError

Precision = Literal["fp32", "fp16"]
INPUT = "pixel_values"
"""The Hub's name for it."""
NAME = "model.onnx"
TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "fp16": 1e-2}
"""Of the largest logit, or of 1 where that is smaller."""


def export_onnx(checkpoint: Checkpoint, out: Path, precision: Precision = "fp32") -> Exported:
    """Write `out`, a file `*.onnx`, or a folder that gets `model.onnx`.

    Weights of more than 2 GiB, which no ONNX file can hold, lie beside it in a file `*.onnx.data`.
    onnxruntime opens it, and its output is compared with the checkpoint's, before it appears. Raises
    MachineError where the extra `export` is not installed, UsageError where `out` exists, CheckpointError
    for a tower that cannot be exported.
    """
    _needs_packages()
    file = out if out.suffix == ".onnx" else out / NAME
    atomic.refuse_taken(out, file.with_name(f"{file.name}.data"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".") as temporary:
        written = Path(temporary, file.name)
        _program(checkpoint, precision).save(written)
        difference, largest = _differences(checkpoint, written)
        if not difference <= TOLERANCES[precision] * max(largest, 1):
            raise CheckpointError(
                f"the {precision} ONNX of {checkpoint.name} gives other {output_of(checkpoint)}: "
                f"they differ by {difference:.3g}, of at most {largest:.3g}",
                "export it by --precision fp32" if precision == "fp16" else "report it with the tower's name",
            )
        parts = sorted(Path(temporary).iterdir(), reverse=True)  # the weights before what names them
        sizes = {str(file.with_name(part.name)): part.stat().st_size for part in parts}
        for part in parts:
            atomic.to_disk(part)
            os.chmod(part, 0o666 & ~_umask())
            os.replace(part, file.with_name(part.name))
    return Exported(
        form=f"onnx {precision}",
        out=str(file),
        files=sizes,
        architecture=checkpoint.tower.name,
        output=output_of(checkpoint),
        largest_difference=difference,
        largest_output=largest,
        remarks=[],
    )


class _Halved(nn.Module):
    """A tower that computes in half precision between float32 ends."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).half()

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.module(images.half())
        return output.float()


def _program(checkpoint: Checkpoint, precision: Precision) -> Any:
    """torch's `ONNXProgram`, its batch size left open."""
    tower = checkpoint.tower
    module = tower.module.eval()
    if precision == "fp16":
        module = _Halved(module).eval()
        if any(not bool(value.isfinite().all()) for value in module.state_dict().values()):
            raise CheckpointError(
                f"fp16 cannot hold the weights of {checkpoint.name}: some are above 65,504",
                "export it by --precision fp32",
            )
    size = tower.preprocessing.size
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (torch.zeros(2, 3, size, size),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[output_of(checkpoint)],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # what a tower's own code makes of symbols is its own affair
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{tower.name} cannot be exported to ONNX in {precision}: {reason[0]}",
            "export it by --precision fp32" if precision == "fp16" else "export it by --to timm",
        ) from error
    assert program is not None
    program.model.metadata_props.update(_metadata(checkpoint))
    return program


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """What the model's user has to know, as texts; what is not one is JSON."""
    expects = checkpoint.tower.preprocessing
    found = {
        "made_by": f"catlipctl {catlipctl.__version__}",
        "architecture": checkpoint.tower.name,
        "preprocessing": json.dumps(
            {
                "channels": "RGB",
                "layout": "NCHW",
                "resize_short_side": expects.resized(expects.size),
                "interpolation": expects.interpolation,
                "center_crop": expects.size,
                "rescale": 1 / 255,
                "mean": expects.mean,
                "std": expects.std,
            }
        ),
    }
    if checkpoint.tower.num_classes:
        found |= {"problem_type": checkpoint.problem_type, "activation": checkpoint.activation}
    if checkpoint.label_names is not None:
        found["label_names"] = json.dumps(checkpoint.label_names, ensure_ascii=False)
        found["label_descriptions"] = json.dumps(checkpoint.label_descriptions, ensure_ascii=False)
    return {name: atomic.encodable(text) for name, text in found.items()}


def _differences(checkpoint: Checkpoint, path: Path) -> tuple[float, float]:
    """The largest difference to the checkpoint's output, and the largest number of that."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images, expected = compared(checkpoint)
    found = [
        torch.from_numpy(session.run(None, {INPUT: part.numpy()})[0]) for part in (images[:1], images[1:])
    ]
    return float((torch.cat(found) - expected).abs().max()), float(expected.abs().max())


def _needs_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MachineError(
            f"ONNX needs a package that is not installed: {error.name}", "pip install 'catlipctl[export]'"
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter warns of its own inner affairs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _umask() -> int:
    """The mode bits that this process's new files lack; torch's exporter gives its own none."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
