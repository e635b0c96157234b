"""Going on with a run: which one, whether a recipe belongs to it, and from which checkpoint."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catlipctl import checkpoints
from catlipctl import recipe as recipes
from catlipctl.checkpoints.directory import POINTER, STATE, STATE_JSON, pointed, steps
from catlipctl.errors import CheckpointError, UsageError
from catlipctl.progress import Progress
from catlipctl.recipe import schema
from catlipctl.training.directory import RunDirectory
from catlipctl.training.saved import Saved


def is_of(kind: type[BaseModel], run: RunDirectory) -> bool:
    """Is it a run by recipes of this kind? A recipe that cannot be read is of none."""
    if not run.is_run:
        return False
    needed = {key for key, field in schema.keys(kind).items() if field.is_required()}
    try:
        return needed <= recipes.read(run.recipe).keys()
    except UsageError:
        return False


def newest(folders: Iterable[Path], kind: type[BaseModel]) -> RunDirectory | None:
    """Of these the run by recipes of this kind that was at work last: an unfinished one, if there is any."""
    runs = [RunDirectory(folder) for folder in folders]
    found = [run for run in runs if run.started and is_of(kind, run)]
    return max(found, key=lambda run: (not run.was_complete, run.worked_at), default=None)


@dataclass(frozen=True)
class Rules:
    """What of a recipe may change in a run that goes on.

    free: keys that may, for they change no step. fixed: keys and sections that may not, even where changes
    are allowed -> the reason.
    """

    free: Collection[str]
    fixed: Mapping[str, str]

    def changes(self, path: Path, recipe: BaseModel, *, allowed: bool) -> dict[str, list[Any]]:
        """Key -> its value in the run's own recipe, at `path`, and the one now, where they differ.

        The one there is read through today's schema, so a key that has come since has its default in both.
        UsageError shows the differences that may not be.
        """
        there = recipes.load(type(recipe), path, environment={}).value
        before, after = (dict(schema.leaves(of)) for of in (there, recipe))
        changed = {
            key: [before.get(key), after.get(key)]
            for key in {**before, **after}
            if before.get(key) != after.get(key)
        }
        told = {key: f"  {key}: {was} in {path}, {now} now" for key, (was, now) in changed.items()}
        refused = {key: line for key, line in told.items() if key not in self.free}
        if allowed:
            whys = {key: self._why_fixed(key) for key in refused}
            refused = {key: f"{refused[key]} ({why})" for key, why in whys.items() if why}
            if refused:
                raise UsageError(
                    "these keys cannot change while a run goes on\n" + "\n".join(refused.values()),
                    "leave them as they are, or start another run by --out",
                )
        elif refused:
            raise UsageError(
                "the recipe is not the one that this run was started with\n" + "\n".join(refused.values()),
                f"go on by the run's own recipe, naming none: --resume --out {path.parent}; "
                "or by this one: add --allow-recipe-change; or start another run by --out",
            )
        return changed

    def _why_fixed(self, key: str) -> str | None:
        inside = (why for at, why in self.fixed.items() if key == at or key.startswith(at + "."))
        return next(inside, None)


@dataclass(frozen=True)
class Start:
    """Where a run begins: at a checkpoint, after so many steps and samples, or from nothing.

    changes: key -> its value before and now, where the recipe is another than before.
    """

    checkpoint: Path | None = None
    step: int = 0
    samples: int = 0
    changes: dict[str, list[Any]] = field(default_factory=dict)


def settle(
    run: RunDirectory, recipe: BaseModel, rules: Rules, *, resume: bool, allowed: bool
) -> dict[str, Any]:
    """Write `recipe.yaml`; on resuming only compare with the one there, and return what has changed.

    That one stays until all else is found to fit, too: a refused resume changes no recipe.
    """
    if resume and run.recipe.exists() and run.started:
        return rules.changes(run.recipe, recipe, allowed=allowed)
    run.write_recipe(recipe)
    return {}


def start(run: Path, changes: dict[str, list[Any]], progress: Progress) -> Start:
    """At the checkpoint that the run's pointer names, or where that is damaged at the newest that is whole.

    It says so where it is not the one that was to be expected. CheckpointError where none is whole.
    """
    named, faults = pointed(run), []
    if named is not None and not named.exists():
        faults.append(f"{named.parent / POINTER} names {named.name}, which is not there")
    there = steps(run)
    for directory in sorted(there, key=lambda path: path != named):
        try:
            checkpoints.verify(directory)
            saved = STATE.read_json(directory / STATE_JSON, Saved)
            found = Start(directory, saved.step, saved.samples, changes)
        except CheckpointError as error:
            faults.append(error.message)
        else:
            if faults:
                progress.warn(f"going on from {directory.name}: {'; '.join(faults)}")
            return found
    if there:
        raise CheckpointError(
            f"no checkpoint of {run} is whole: {'; '.join(faults)}",
            "copy one again from where it is whole; to start anew, name another directory by --out",
        )
    if RunDirectory(run).started:
        progress.note(f"{run} has no checkpoint yet: it begins with its first step")
    return Start(changes=changes)
