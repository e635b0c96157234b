"""Is this machine ready, and what to do if not: one check for each thing that has stopped someone before."""

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from catlipctl import files
from catlipctl.doctor import feeding, launching, machine, software
from catlipctl.doctor.check import Check
from catlipctl.results import Result


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
    for name in software.LIBRARIES:
        yield software.library(name)
    yield guarded("torchvision's operators", software.torchvision_operators)
    yield guarded("devices", machine.devices)
    yield guarded("processor", machine.processor)
    yield guarded("feeding the devices", feeding.feeding)
    yield guarded("memory", machine.memory)
    yield machine.shared_memory()
    yield machine.cache_folder(cache)
    yield machine.disk("disk at the cache", cache)
    yield machine.disk("disk here", Path.cwd())
    yield guarded("WordNet", software.wordnet)
    yield guarded("NLTK's data", software.nltk_data)
    yield software.plot_packages()
    yield guarded("extra demo", software.demo_packages)
    yield software.embedded_data(cache)
    yield launching.accelerate_configuration()
    yield launching.launcher()


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """What the check found; if it could not even look, that is the finding."""
    try:
        return look()
    except Exception as error:  # whatever a broken installation raises is what the user came to learn
        first = str(error).splitlines()[0] if str(error) else ""
        found = f"{type(error).__name__}: {first}"
        return Check(name=name, status="failed", found=found, mend="pip install --force-reinstall catlipctl")
