"""What a command returns: a typed result, which the command line prints and reports draw.

An evaluation or a benchmark also writes its result as one JSON file, with all that is needed to read it
alone: protocol, data, inputs, machine, versions, recipe and seed.
"""

import os
import platform
import resource
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.files import write_json

SCHEMA_VERSION = 1


@cache
def this_machine() -> dict[str, Any]:
    """Processor, cores, memory and accelerators of this machine."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_bytes": memory,
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def high_water() -> int:
    """Bytes of resident memory that this process has had at most.

    Linux hands `ru_maxrss` on through fork and exec, so a child of a large process starts with its
    parent's peak; VmHWM is the process's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide results."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for name in ("catlipctl", "torch", "torchvision", "timm", "open_clip_torch", "accelerate", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Result(BaseModel):
    """Base of all results. `inputs` names what the work started from (`{"checkpoint": "runs/demo/..."}`)."""

    model_config = ConfigDict(extra="forbid")

    inputs: dict[str, str] = Field(default_factory=dict)


class Measurement(Result):
    """Base of results that are kept: an evaluation or a benchmark.

    `protocol` tells apart what may not stand in one column; `data` has the source, its pairs and a hash.
    """

    protocol: str
    data: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    recipe: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=this_machine)
    versions: dict[str, str] = Field(default_factory=library_versions)

    def document(self) -> dict[str, Any]:
        """The result as its file has it."""
        return {"schema_version": SCHEMA_VERSION, **self.model_dump(mode="json")}

    def write(self, path: Path) -> Path:
        """Write the result as one JSON file, atomically; return its path."""
        write_json(path, self.document())
        return path
