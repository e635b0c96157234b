"""What a command returns: a typed result, which the command line prints and reports draw.

An evaluation or a benchmark also writes its result as one JSON file, with all that is needed to read it
alone: protocol, data, inputs, machine, versions, recipe, seed, the command line and the date.
"""

import os
import platform
import resource
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.files import write_json

SCHEMA_VERSION = 1


def this_machine() -> dict[str, Any]:
    """Processor, cores and memory of this machine; threads and accelerators where torch is at work."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    found = {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": memory,
    }
    # What works without torch does not wait for it here.
    if (torch := sys.modules.get("torch")) is not None:
        found["threads"] = torch.get_num_threads()
        found["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def command_line() -> list[str]:
    """How this process was started: `catlipctl` and its arguments, or the program that calls it."""
    program = Path(sys.argv[0])
    ours = program.name == "catlipctl" or Path(__file__).parent in program.absolute().parents
    return ["catlipctl" if ours else program.name, *sys.argv[1:]]


def now() -> str:
    """Date and time with the zone, to the second (ISO 8601)."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    `command` and `date`: the command line that made it, and when.
    """

    protocol: str
    data: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    recipe: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=this_machine)
    versions: dict[str, str] = Field(default_factory=library_versions)
    command: list[str] = Field(default_factory=command_line)
    date: str = Field(default_factory=now)

    def document(self) -> dict[str, Any]:
        """The result as its file has it."""
        return {"schema_version": SCHEMA_VERSION, **self.model_dump(mode="json")}

    def write(self, path: Path) -> Path:
        """Write the result as one JSON file, atomically; return its path."""
        write_json(path, self.document())
        return path
