"""What is installed: libraries at their versions, the extras, and the data that come with them."""

from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from catlipctl.doctor.check import Check
from catlipctl.errors import MachineError

LIBRARIES = ("torch", "torchvision", "timm", "open_clip_torch", "accelerate", "datasets", "nltk", "numpy")


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
