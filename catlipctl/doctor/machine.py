"""What the machine has: devices, cores, memory and disks."""

import shutil
import tempfile
from pathlib import Path

from catlipctl.doctor.check import Check
from catlipctl.results import cores

SPARE_BYTES = 2 * 2**30
"""A run of the demo and its checkpoints stay far below; a download of wheels does not."""
SHARED_BYTES = 2**30
"""What a loader with 16 workers holds at most."""
MEMORY_BYTES = 4 * 2**30
"""The CPU benchmark's three learners take about 3 GiB beside Python and torch."""


def devices() -> Check:
    """GPUs, and whether they compute in bfloat16."""
    import torch

    count = torch.cuda.device_count()
    if not count and shutil.which("nvidia-smi"):
        return Check(
            name="devices",
            status="warning",
            found=f"no GPU, but nvidia-smi is here; torch is built for {torch.version.cuda or 'the CPU'}",
            mend="install a torch for this driver's CUDA: https://pytorch.org/get-started/locally",
        )
    if not count:
        return Check(name="devices", status="ok", found="no GPU: training runs on the CPU")
    names = ", ".join(sorted({torch.cuda.get_device_name(index) for index in range(count)}))
    found = f"{count} x {names}, CUDA {torch.version.cuda}"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Check(name="devices", status="ok", found=f"{found}, bfloat16")
    return Check(
        name="devices",
        status="warning",
        found=f"{found}, no bfloat16: training runs in float32",
        mend="nothing to mend; a GPU of the Ampere generation or later is several times faster",
    )


def processor() -> Check:
    """Cores that this process may use, and the threads that torch takes."""
    import torch

    usable, threads = cores(), torch.get_num_threads()
    found = f"{usable} core{'s' * (usable > 1)}, {threads} thread{'s' * (threads > 1)}"
    if threads > usable:
        mend = f"set OMP_NUM_THREADS={usable}: more threads than cores slow each other down"
        return Check(name="processor", status="warning", found=found, mend=mend)
    return Check(name="processor", status="ok", found=found)


def memory() -> Check:
    """Memory that is free to be taken now."""
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    found = f"{_gib(free)} of {_gib(total)} free"
    if free < MEMORY_BYTES:
        mend = f"close something: the default benchmark and larger towers want {_gib(MEMORY_BYTES)}"
        return Check(name="memory", status="warning", found=found, mend=mend)
    return Check(name="memory", status="ok", found=found)


def shared_memory(folder: Path = Path("/dev/shm")) -> Check:
    """Where loader workers hand over their images; containers often have 64 MB of it."""
    name = "shared memory"
    if not folder.is_dir():
        return Check(name=name, status="ok", found=f"no {folder}: this system hands over in another way")
    free = shutil.disk_usage(folder).free
    if free < SHARED_BYTES:
        mend = "docker run --shm-size=2g, or fewer loader workers: --set data.workers=N"
        return Check(name=name, status="warning", found=f"{_gib(free)} free in {folder}", mend=mend)
    return Check(name=name, status="ok", found=f"{_gib(free)} free in {folder}")


def cache_folder(cache: Path) -> Check:
    """Can indexes, counts and the demo's data be written? Tried, in the nearest folder that exists."""
    try:
        with tempfile.TemporaryFile(dir=_existing(cache)):
            pass
    except OSError as error:
        return Check(
            name="cache folder",
            status="failed",
            found=f"{cache}: {error.strerror}",
            mend="export CATLIPCTL_CACHE_DIR=FOLDER, one that you may write to",
        )
    return Check(name="cache folder", status="ok", found=str(cache))


def disk(name: str, folder: Path) -> Check:
    """Free space where `folder` is or will be."""
    try:
        free = shutil.disk_usage(_existing(folder)).free
    except OSError as error:
        return Check(
            name=name, status="failed", found=f"{folder}: {error.strerror}", mend="choose another folder"
        )
    if free < SPARE_BYTES:
        mend = f"free some space: {_gib(SPARE_BYTES)} are comfortable"
        return Check(name=name, status="warning", found=f"{_gib(free)} free", mend=mend)
    return Check(name=name, status="ok", found=f"{_gib(free)} free")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists (a file in the way is returned as it is)."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
