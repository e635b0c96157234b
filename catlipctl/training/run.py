"""A run: its processes, its signals, its directory, and where it begins."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from catlipctl import files
from catlipctl.checkpoints.directory import MANIFEST
from catlipctl.errors import UsageError
from catlipctl.progress import SILENT, Progress
from catlipctl.recipe import schema
from catlipctl.results import command_line, library_versions, now, this_machine
from catlipctl.settings.training import TrainingSettings
from catlipctl.signals import Signals, answered
from catlipctl.training import resuming, tracking
from catlipctl.training.directory import RunDirectory, acquire
from catlipctl.training.peers import Peers
from catlipctl.training.report import append_row
from catlipctl.training.resuming import Rules, Start
from catlipctl.training.tracking import Trackers
from catlipctl.training.utilisation import Peak
from catlipctl.training.world import World

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A run under way, in each of its processes; only the first one's progress is heard."""

    task: str
    world: World
    signals: Signals
    directory: RunDirectory
    progress: Progress
    start: Start
    trackers: Trackers

    def on_main(self, function: Callable[[], T]) -> T:
        """What `function` returns in the first process, in all of them; so its error, too."""
        return self.world.on_main(function)

    def logged(self, row: Mapping[str, Any]) -> None:
        """Tell what a step came to: a row of `metrics.jsonl`."""
        append_row(self.directory.metrics, row)
        self.trackers.log(row, row["step"])

    def evaluated(self, row: Mapping[str, Any]) -> None:
        """Tell what the weights after the row's `step` are worth: a row of `evaluations.jsonl`."""
        append_row(self.directory.evaluations, row)
        values = {name: value for name, value in row.items() if name not in ("step", "samples")}
        self.trackers.log(values, row["step"], "validation/")

    def training_begins(self, recipe: BaseModel, steps: int, peak: Peak | None) -> None:
        """Make the recipe the run's own, and add this start to `starts.jsonl`. All processes call.

        steps: of the run in all. peak: of each device, which `mfu` is a share of.
        """
        self.directory.complete = False
        if peak is not None:
            self.progress.note(f"mfu: of {peak.flops / 1e12:,.0f} TFLOP/s ({peak.of})")

        def write() -> None:
            self.directory.write_recipe(recipe)
            self.directory.add_start(
                {
                    "time": now(),
                    "command": command_line(),
                    "step": self.start.step,
                    "steps": steps,
                    "processes": self.world.size,
                    "machine": this_machine(),
                    "peak": None if peak is None else peak._asdict(),
                    "versions": library_versions(),
                    **({"recipe_changes": self.start.changes} if self.start.changes else {}),
                }
            )

        self.on_main(write)


@contextmanager
def begin(
    task: str,
    recipe: TrainingSettings,
    rules: Rules,
    out: Path | None,
    name: str,
    *,
    root: Path = Path("runs"),
    resume: bool = False,
    allow_changes: bool = False,
    cpu: bool = False,
    progress: Progress = SILENT,
) -> Iterator[Run]:
    """A run of a task (`pretrain`) in `out`, or in a new ROOT/NAME, alone or as one of several processes.

    rules: what of the recipe may change where a run is resumed; allow_changes: all but what is fixed may.
    `exit.json` is written as the body ends; a new ROOT/NAME with nothing worth keeping is taken away.
    Raises UsageError where the directory is in use or not empty or the recipe is not the run's,
    CheckpointError where no checkpoint of the run is whole, and MachineError for a tracker that is missing.
    """
    held: list[RunDirectory] = []

    def take_directory() -> tuple[Path, bool]:
        held.append(acquire(out, name, resume=resume, root=root))
        return held[0].path, held[0].complete

    with answered() as signals:
        signals.trained = False
        try:
            tracking.check(recipe.trackers)
            world = World(cpu=cpu)
            path, complete = world.on_main(take_directory)
            directory = RunDirectory(path)
            directory.complete = complete
            heard = progress if world.is_main else SILENT

            def settled() -> Start:
                changes = resuming.settle(directory, recipe, rules, resume=resume, allowed=allow_changes)
                heard.note(f"run: {directory.path}")
                return resuming.start(directory.path, changes, heard) if resume else Start()

            if held and held[0].without_flock:
                heard.warn(
                    f"{path}: its file system knows no flock, so lock.json keeps other runs out; "
                    "a run that was killed on another machine holds it for half a minute more"
                )
            trackers = Trackers(recipe.trackers if world.is_main else (), path, heard)
            with Peers(world, directory.record) as peers, directory.recording_exit(world.rank, peers.agreed):
                _check_same_recipe(recipe, rules, world)
                start = world.on_main(settled)
                if start.checkpoint is not None and not world.is_main:
                    files.await_file(start.checkpoint / MANIFEST, progress)
                yield Run(task, world, signals, directory, heard, start, trackers)
                world.close()
        finally:
            signals.run_ended()
            for directory in held:
                if out is None:
                    directory.discard_unstarted()
                directory.release()


def _check_same_recipe(recipe: BaseModel, rules: Rules, world: World) -> None:
    """UsageError where this process has another recipe than the first one: each node reads its own file."""
    theirs: dict[str, Any] = world.on_main(lambda: dict(schema.leaves(recipe)))
    own = dict(schema.leaves(recipe))
    told = [
        f"  {key}: {theirs.get(key)} there, {own.get(key)} here"
        for key in {**theirs, **own}
        if theirs.get(key) != own.get(key) and key not in rules.free
    ]
    if told:
        raise UsageError(
            f"process {world.rank}, on {socket.gethostname()}, has another recipe than process 0\n"
            + "\n".join(told),
            "start all nodes by the same recipe, with the same options",
        )
