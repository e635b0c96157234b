"""Is this machine ready, and what to do if not: one check for each thing that has stopped someone before."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict

from catlipctl import files
from catlipctl.errors import MachineError
from catlipctl.results import Result
from catlipctl.signals import HANDLED

LIBRARIES = ("torch", "torchvision", "timm", "open_clip_torch", "accelerate", "datasets", "nltk", "numpy")
SPARE_BYTES = 2 * 2**30
"""A run of the demo and its checkpoints stay far below; a download of wheels does not."""
SHARED_BYTES = 2**30
"""What a loader with 16 workers holds at most."""
MEMORY_BYTES = 4 * 2**30
"""The CPU benchmark's CLIP step takes 1.7 GiB beside Python and torch."""


class Check(BaseModel):
    """One thing looked at. found: what is there. mend: what to do, if anything."""

    model_config = ConfigDict(extra="forbid")

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    mend: str = ""


class Diagnosis(Result):
    """All checks, in the order in which one would mend them."""

    checks: list[Check]

    @property
    def failed(self) -> list[Check]:
        """Those without which catlipctl does not work here."""
        return [check for check in self.checks if check.status == "failed"]


def examine(cache_dir: Path | None = None) -> Diagnosis:
    """Look at this machine and change nothing on it. cache_dir: default the user's cache folder."""
    cache = cache_dir or files.cache_dir()
    return Diagnosis(checks=list(_checks(cache)))


def _checks(cache: Path) -> Iterator[Check]:
    yield Check(name="Python", status="ok", found=platform.python_version())
    for name in LIBRARIES:
        yield library(name)
    yield guarded("torchvision's operators", torchvision_operators)
    yield guarded("devices", devices)
    yield guarded("processor", processor)
    yield guarded("memory", memory)
    yield shared_memory()
    yield cache_folder(cache)
    yield disk("disk at the cache", cache)
    yield disk("disk here", Path.cwd())
    yield guarded("WordNet", wordnet)
    yield guarded("NLTK's data", nltk_data)
    yield plot_packages()
    yield guarded("extra demo", demo_packages)
    yield embedded_data(cache)
    yield accelerate_configuration()
    yield launcher()


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """What the check found; if it could not even look, that is the finding."""
    try:
        return look()
    except Exception as error:  # whatever a broken installation raises is what the user came to learn
        first = str(error).splitlines()[0] if str(error) else ""
        found = f"{type(error).__name__}: {first}"
        return Check(name=name, status="failed", found=found, mend="pip install --force-reinstall catlipctl")


def library(name: str) -> Check:
    """The installed version against what catlipctl requires."""
    wanted = requirements().get(name.lower().replace("_", "-"))
    bound = str(wanted.specifier) if wanted else ""
    mend = f"pip install '{name}{bound}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name=name, status="failed", found="missing", mend=mend)
    if wanted and not wanted.specifier.contains(found, prereleases=True):
        return Check(name=name, status="failed", found=f"{found}, needed: {bound}", mend=mend)
    return Check(name=name, status="ok", found=found)


def requirements() -> dict[str, Requirement]:
    """catlipctl's own requirements by normalised name, those of extras left out."""
    try:
        lines = requires("catlipctl") or []
    except PackageNotFoundError:
        return {}
    parsed = [Requirement(line) for line in lines]
    return {
        wanted.name.lower().replace("_", "-"): wanted
        for wanted in parsed
        if "extra" not in str(wanted.marker)
    }


def torchvision_operators() -> Check:
    """torch 2.13.0 has CPU builds with which they do not load; decoding and timm's augmentation need them."""
    name = "torchvision's operators"
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, OSError, RuntimeError) as error:
        return Check(
            name=name,
            status="failed",
            found=str(error).splitlines()[0],
            mend="pip install --upgrade 'torch>=2.11,!=2.13.0' torchvision, both from the same index",
        )
    return Check(name=name, status="ok", found="load and run")


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

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    found = f"{cores} core{'s' * (cores > 1)}, {threads} thread{'s' * (threads > 1)}"
    if threads > cores:
        mend = f"set OMP_NUM_THREADS={cores}: more threads than cores slow each other down"
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


def wordnet() -> Check:
    """The compiled noun graph: does it load, and is it WordNet 3.0's?"""
    from catlipctl.labels.wordnet import nouns

    graph = nouns()
    found = f"{len(graph):,} noun synsets"
    if graph.key_of("dog.n.01") == "n02084071":
        return Check(name="WordNet", status="ok", found=found)
    mend = "pip install --force-reinstall catlipctl"
    return Check(name="WordNet", status="failed", found=f"{found}, but dog.n.01 is not n02084071", mend=mend)


def nltk_data() -> Check:
    """NLTK's tagger, which the extractor `nouns` alone asks for; all else comes with catlipctl."""
    from catlipctl.labels import tagger

    try:
        tagger.require_data()
    except MachineError as error:
        found = "not here, and needed by the extractor nouns alone"
        return Check(name="NLTK's data", status="ok", found=found, mend=error.hint)
    return Check(name="NLTK's data", status="ok", found="the tagger's are here, for the extractor nouns")


def plot_packages() -> Check:
    """The extra `plot`."""
    if find_spec("matplotlib"):
        return Check(name="extra plot", status="ok", found="installed")
    found = "matplotlib is missing: no plots are drawn"
    return Check(name="extra plot", status="warning", found=found, mend="pip install 'catlipctl[plot]'")


def demo_packages() -> Check:
    """The extra `demo`, which brings the images of the demo recipe."""
    from catlipctl.data.emoji import require_packages

    try:
        require_packages()
    except MachineError as error:
        return Check(name="extra demo", status="warning", found=error.message, mend=error.hint)
    return Check(name="extra demo", status="ok", found="installed")


def embedded_data(cache: Path) -> Check:
    """The emoji shards, which the first use builds."""
    from catlipctl.data import emoji

    found = str(emoji.built(cache) or "not built yet: the first use does it, in about a minute")
    return Check(name="embedded data", status="ok", found=found)


def accelerate_configuration() -> Check:
    """A configuration of accelerate's that would quietly change a run under `accelerate launch`."""
    from accelerate.commands.config.config_args import default_config_file

    set_ = sorted(key for key in os.environ if key.startswith("ACCELERATE_"))
    if set_ and "WORLD_SIZE" not in os.environ:
        return Check(
            name="accelerate's configuration",
            status="warning",
            found=f"set in the environment: {', '.join(set_)}",
            mend="unset them, unless accelerate launch is to start the run",
        )
    if Path(default_config_file).is_file():
        return Check(
            name="accelerate's configuration",
            status="ok",
            found=f"{default_config_file}, in force under accelerate launch only",
        )
    return Check(name="accelerate's configuration", status="ok", found="none")


def launcher() -> Check:
    """Who started this process, and would it hand on the signals that save a run?"""
    if "WORLD_SIZE" not in os.environ:
        return Check(name="launcher", status="ok", found="none: --gpus N or --processes N start their own")
    found = f"rank {os.environ.get('RANK', '?')} of {os.environ['WORLD_SIZE']}"
    missing = {"RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} - set(os.environ)
    if missing:
        mend = "start through torchrun, accelerate launch or --gpus N, or unset WORLD_SIZE"
        lacking = f"{found}, but without {', '.join(sorted(missing))}"
        return Check(name="launcher", status="failed", found=lacking, mend=mend)
    # torchrun puts its own choice here; its default leaves SIGUSR1 out and dies of it.
    handled = os.environ.get("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT")
    wanted = [number.name for number in HANDLED]
    lost = [name for name in wanted if name not in handled.split(",")]
    if "TORCHELASTIC_RUN_ID" in os.environ and lost:
        return Check(
            name="launcher",
            status="warning",
            found=f"{found} under torchrun, which hands on {handled} but not {','.join(lost)}",
            mend=f"torchrun --signals-to-handle {','.join(wanted)} (catlipctl pretrain --print-launch)",
        )
    return Check(name="launcher", status="ok", found=found)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists (a file in the way is returned as it is)."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
