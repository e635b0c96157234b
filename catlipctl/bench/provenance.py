"""What a benchmark's figures depend on beside machine and versions: clocks, and the code that ran."""

import shutil
import subprocess
from pathlib import Path

SECONDS = 10
"""That a program may take to answer."""


def clocks() -> dict[str, float]:
    """MHz of the processor's cores now, on average, and of each GPU; what can't be read is left out."""
    found = {}
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    cores = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    if cores:
        found["cpu"] = round(sum(cores) / len(cores), 1)
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
        for number, clock in enumerate(_answer(asked).split()):
            if clock.isdecimal():
                found[f"gpu {number}"] = float(clock)
    return found


def revision() -> str | None:
    """The commit of the checkout that this package is run from, with `+` where files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists() or not shutil.which("git"):
        return None
    commit = _answer(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]).strip()
    changed = _answer(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"]).strip()
    return f"{commit}+" if commit and changed else commit or None


def _answer(command: list[str]) -> str:
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout if asked.returncode == 0 else ""
