"""What a command works on: what the user named, else the newest run's, said so on stderr."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import typer

from catlipctl.cli.output import Output, age
from catlipctl.errors import DataError, UsageError

T = TypeVar("T")


def either(option: T | None, word: T | None, name: str) -> T | None:
    """What was named by an option, or by the word that stood for it before; UsageError for both."""
    if option and word:
        raise UsageError(f"{name} is given twice: {option} and {word}", f"name it once, by {name}")
    return option or word


def sources(option: list[str] | None, words: list[str] | None) -> list[str]:
    """The sources named by --data, or by words alone; UsageError for none."""
    if option and words:
        raise UsageError(
            f"{words[0]} stands without --data",
            "repeat --data for each source; quote a pattern, so that the shell does not unfold it",
        )
    named = option or words
    if not named:
        raise UsageError(
            "no source is named", "name one by --data: a tar, a quoted pattern, a folder, hf:ORG/NAME"
        )
    return named


def checkpoint(option: str | None, word: str | None, out: Output) -> str:
    """The checkpoint that was named, or the newest run under ./runs."""
    given = option if word is None else either(option, word, "--checkpoint")
    if given is None:
        from catlipctl import checkpoints

        run = checkpoints.newest_run()
        out.uses("checkpoint", str(run.path), f"newest run, {age(run.age_seconds)}")
        return str(run.path)
    if not given:
        raise UsageError("the checkpoint's name is empty", "name a run, its checkpoints/, or one step-*")
    out.uses("checkpoint", given)
    return given


def vocabulary(given: Path | None, out: Output) -> Path:
    """The vocabulary.json that `given` names (a file, a run, a checkpoint), or the newest run's."""
    if given is not None:
        path = _vocabulary_of(given)
        out.uses("vocabulary", str(path))
        return path
    from catlipctl import checkpoints

    run = checkpoints.newest_run()
    path = run.path / "vocabulary.json"
    out.uses("vocabulary", str(path), f"newest run, {age(run.age_seconds)}")
    return _existing(path)


def vocabularies(given: list[Path], out: Output) -> list[Path]:
    """The vocabulary.json that each of `given` names, in their order; of none given, the newest run's."""
    if len(given) < 2:
        return [vocabulary(given[0] if given else None, out)]
    paths = [_vocabulary_of(each) for each in given]
    out.uses("vocabularies", " ".join(map(str, paths)))
    return paths


def _vocabulary_of(given: Path) -> Path:
    path = given / "vocabulary.json" if given.is_dir() else given
    if given.is_dir() and not path.is_file():
        from catlipctl import checkpoints

        path = checkpoints.resolve(given) / "vocabulary.json"
    return _existing(path)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DataError(
            f"no vocabulary at {path}",
            "build one with: catlipctl vocab build --data SOURCE --out vocabulary.json",
        )
    return path


def only_here(gpus: int | None, processes: int | None, out: Output, further: Sequence[str] = ()) -> bool:
    """Start this command in as many processes as are wanted, and end when they have ended.

    further: arguments that each of them gets beside those that were typed.
    Returns where it is to be worked on in this process, alone or as one of several: whether on the CPU.
    """
    from catlipctl.training import launch

    wanted = launch.devices(gpus, processes)
    if launch.joined():
        return wanted.cpu
    if wanted.note:
        out.note(wanted.note)
    if wanted.processes > 1:
        raise typer.Exit(launch.launch([*sys.argv[1:], *further], wanted, out))
    return wanted.cpu


def feature_cache(cache_dir: Path | None, no_cache: bool) -> Path | None:
    """Where features are kept and found; None: nowhere."""
    from catlipctl import files

    return None if no_cache else cache_dir or files.cache_dir()
