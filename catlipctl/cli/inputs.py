"""What a command works on: what the user named, else the newest run's, said so on stderr."""

import sys
from pathlib import Path

import typer

from catlipctl.cli.output import Output, age
from catlipctl.errors import DataError, UsageError


def checkpoint(given: str | None, out: Output) -> str:
    """The checkpoint that was named, or the newest run under ./runs."""
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
            f"no vocabulary at {path}", "build one with: catlipctl vocab build SOURCE --out vocabulary.json"
        )
    return path


def only_here(gpus: int | None, processes: int | None, out: Output) -> bool:
    """Start this command in as many processes as are wanted, and end when they have ended.

    Returns where it is to be worked on in this process, alone or as one of several: whether on the CPU.
    """
    from catlipctl.training import launch

    wanted = launch.devices(gpus, processes)
    if launch.joined():
        return wanted.cpu
    if wanted.note:
        out.note(wanted.note)
    if wanted.processes > 1:
        raise typer.Exit(launch.launch(sys.argv[1:], wanted, out))
    return wanted.cpu
