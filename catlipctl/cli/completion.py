"""What the shell completes: label sets, extractors, recipes, runs, and files of the fitting kind."""

from collections.abc import Iterable
from pathlib import Path


def targets(incomplete: str) -> list[str]:
    """Built-in label sets, and TSV files."""
    from catlipctl.labels.targets import BUILT_IN

    return [*_beginning(BUILT_IN, incomplete), *_files(incomplete, ".tsv", ".csv")]


def extractors(incomplete: str) -> list[str]:
    """Extractors by name."""
    from catlipctl.labels import EXTRACTORS

    return _beginning(EXTRACTORS, incomplete)


def recipes(incomplete: str) -> list[str]:
    """Recipes by name, and YAML files."""
    from catlipctl.recipe import names

    return [*_beginning(names(), incomplete), *_files(incomplete, ".yaml", ".yml")]


def runs(incomplete: str) -> list[str]:
    """Runs under ./runs, and folders."""
    found = sorted(str(path.parent) for path in Path("runs").glob("*/recipe.yaml"))
    named = _beginning(found, incomplete)
    return [*named, *(folder for folder in _files(incomplete) if folder.rstrip("/") not in named)]


def vocabularies(incomplete: str) -> list[str]:
    """Runs, and JSON files."""
    return [*runs(incomplete), *(name for name in _files(incomplete, ".json") if not name.endswith("/"))]


def sources(incomplete: str) -> list[str]:
    """Files and folders; the embedded pairs."""
    embedded = _beginning(("emoji:pairs", "emoji:transfer"), incomplete)
    return [*embedded, *_files(incomplete, ".tar", ".parquet", ".csv", ".tsv", ".jsonl", ".txt")]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str, *endings: str) -> list[str]:
    """Folders, and files of these endings, whose path begins so."""
    folder, _, begun = incomplete.rpartition("/")
    place = Path(folder or ("/" if incomplete.startswith("/") else "."))
    prefix = incomplete[: len(incomplete) - len(begun)]
    if not place.is_dir():
        return []
    return sorted(
        prefix + entry.name + ("/" if entry.is_dir() else "")
        for entry in place.iterdir()
        if entry.name.startswith(begun)
        and not (entry.name.startswith(".") and not begun)
        and (entry.is_dir() or entry.suffix in endings)
    )
