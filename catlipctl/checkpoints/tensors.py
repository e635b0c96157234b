"""Tensors of files that may come from anyone: safetensors, and torch's own format without its code."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from catlipctl.errors import CheckpointError

SAFETENSORS = ".safetensors"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; CheckpointError where it is damaged, or holds NaN."""
    try:
        tensors = load_file(path)
    except Exception as error:  # SafetensorError, and what torch makes of a header that lies
        raise CheckpointError(f"{path} cannot be read: {error}", "name another checkpoint") from error
    check_tensors(tensors, path)
    return tensors


def read_torch(path: Path) -> dict[str, Any]:
    """The dict that `torch.save` wrote: tensors, and whatever plain values lie beside them.

    Nothing that the file names is run or imported, except what torch itself rebuilds tensors with. Raises
    CheckpointError for a file that asks for more, that is none of torch's, or that holds no dict.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about kinds of tensors that are refused anyway
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError of its archive reader, EOFError, ...
        raise _refused(path, error) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no tensors by name, but {type(found).__name__}", _HINT)
    return found


def check_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """CheckpointError for a tensor of `path` that holds NaN, that is not plain, or that claims too much.

    A few bytes can claim any shape, by a stride of zero: together they hold no more than the file.
    """
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise CheckpointError(f"{path}: {name} is no plain tensor", _HINT)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > path.stat().st_size:
        raise CheckpointError(
            f"{path} claims tensors of {claimed:,} bytes, and has {path.stat().st_size:,}", _HINT
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and bool(tensor.float().isnan().any()):
            raise CheckpointError(f"{path}: {name} holds NaN", "name another checkpoint")


_HINT = "give the weights alone: a state dict, as torch.save or safetensors write it"


def _refused(path: Path, error: Exception) -> CheckpointError:
    if asked := re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error)):
        return CheckpointError(
            f"{path} is refused: it asks for code to be run ({asked[1]})",
            f"{_HINT}, and nothing else in the file",
        )
    said = (str(error) or type(error).__name__).splitlines()[0]
    if "TorchScript" in str(error):
        said = "it is a TorchScript archive, which is a program"
    return CheckpointError(f"{path} cannot be read: {said}", _HINT)
