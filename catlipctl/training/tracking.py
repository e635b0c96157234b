"""A run's rows for those who watch many runs: TensorBoard and wandb, by Accelerate's trackers.

`metrics.jsonl` is the record, a tracker its mirror: one that fails is told of once, and training goes on.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker
from pydantic import BaseModel

from catlipctl.errors import MachineError
from catlipctl.files import write_text
from catlipctl.progress import Progress
from catlipctl.recipe.schema import leaves
from catlipctl.settings.training import Tracker

PROJECT = "catlipctl"


def check(names: Sequence[Tracker]) -> None:
    """MachineError for a tracker that is not installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MachineError(
            f"trackers: {' and '.join(missing)} cannot be loaded: not installed here",
            f"pip install {' '.join(missing)}; or --set trackers=[]",
        )


class Trackers:
    """Those of a run, in the process that writes; without names, as in all others, it does nothing."""

    def __init__(self, names: Sequence[Tracker], run: Path, progress: Progress) -> None:
        self._names, self._run, self._progress = names, run, progress
        self._live: dict[Tracker, GeneralTracker] = {}

    @contextmanager
    def tracking(self, recipe: BaseModel, step: int) -> Iterator[None]:
        """Inside, rows are logged. step: how many the run has behind it; those after it are made again."""
        config = {key: _plain(value) for key, value in leaves(recipe)}
        for name in self._names:
            self._attempt(name, lambda name=name: self._start(name, config, step))  # type: ignore[misc]
        try:
            yield
        finally:
            for name, tracker in list(self._live.items()):
                self._attempt(name, tracker.finish)

    def log(self, row: Mapping[str, Any], step: int, prefix: str = "") -> None:
        """The numbers of a row, as they were after `step`, their names behind `prefix`."""
        values = {prefix + name: value for name, value in row.items() if isinstance(value, int | float)}
        for name, tracker in list(self._live.items()):
            self._attempt(name, lambda tracker=tracker: tracker.log(values, step=step))  # type: ignore[misc]

    def _attempt(self, name: Tracker, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # they raise what they like
            self._live.pop(name, None)
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._progress.warn(f"{name} gets no more of this run: {told}; metrics.jsonl has all of it")

    def _start(self, name: Tracker, config: Mapping[str, Any], step: int) -> None:
        tracker: GeneralTracker
        if name == "tensorboard":
            # Readers drop what an earlier start has logged of later steps.
            again = (self._run / name).exists()
            purge = {"purge_step": step + 1} if again else {}
            tracker = TensorBoardTracker("tensorboard", self._run, **purge)
        else:
            again = False
            tracker = WandBTracker(os.environ.get("WANDB_PROJECT", PROJECT), **_wandb(self._run))
        tracker.start()
        if not again:
            tracker.store_init_configuration(config)
        self._live[name] = tracker


def _wandb(run: Path) -> dict[str, Any]:
    """Of `wandb.init`: the same run of wandb at every start, and its files in this one's folder."""
    kept = run / "wandb" / "id"
    if not kept.exists():
        write_text(kept, secrets.token_hex(8))
    # A command's output is its own: wandb does not copy it.
    settings = {"console": "off"}
    name = run.absolute().name
    return {"dir": run, "id": kept.read_text().strip(), "resume": "allow", "name": name, "settings": settings}


def _plain(value: Any) -> Any:
    """As both trackers take a value: what is no number and no text as text."""
    return value if isinstance(value, bool | int | float | str) else str(value)
