"""When a run saves, what it saves, and going on from what it saved."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from catlipctl import checkpoints, files
from catlipctl.checkpoints.directory import STATE, STATE_JSON, WEIGHTS, step_name
from catlipctl.checkpoints.keeping import is_newest, point
from catlipctl.checkpoints.pieces import Piece
from catlipctl.checkpoints.shards import shard_name
from catlipctl.checkpoints.state import State
from catlipctl.checkpoints.tensors import read_tensors
from catlipctl.checkpoints.writer import Part
from catlipctl.errors import CatlipctlError, CheckpointError, Stopped
from catlipctl.progress import SILENT, Progress
from catlipctl.training.learner import Learner, nothing
from catlipctl.training.report import RunState
from catlipctl.training.saved import Saved, differences
from catlipctl.training.state import of_tower
from catlipctl.training.steps import StepSchedule
from catlipctl.training.world import World
from catlipctl.training.writer import Writer

Parts = Callable[[Mapping[str, Tensor]], Mapping[str, Any]]
"""The objective's weights as one should use them -> what a task writes beside the tower."""
MOST_FAILURES = 3
"""Saves that may fail one after the other; the last of them ends the run."""
LAST_WAIT = 60.0
"""Seconds for which a run that ends by an error waits for the save under way."""


@dataclass
class Saves:
    """The checkpoints of a run under way; a context, in which a process writes them beside the training.

    every: steps between those that are kept. minutes: between those of which the next takes the place.
    keep_last: how many of those that are kept stay; keep_every: steps between those that stay besides.
    parts: what the task writes beside the tower. provenance: what decides the losses and stands in no recipe.
    """

    run: Path
    learner: Learner
    schedule: StepSchedule
    world: World
    parts: Parts
    provenance: dict[str, Any]
    every: int | None = None
    minutes: float | None = None
    keep_last: int | None = None
    keep_every: int | None = None
    progress: Progress = SILENT
    _last: float = field(default_factory=time.monotonic)
    _failures: int = 0
    _under_way: bool = False
    _in_parts: bool = False

    def __enter__(self) -> "Saves":
        """Raises CatlipctlError where no checkpoint could be written: before there is anything to lose."""
        self.world.on_main(self._try_folder)
        self._writer = Writer(self.run, self.progress.note, self._tell_failure)
        if self.world.is_main:
            self._writer.start()
        self.learner.before_change = lambda: self._writer.last.wait_to_change()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the save under way: not for ever after an error, not at all at a second Ctrl-C."""
        self.learner.before_change = nothing
        ends_well = error is None or isinstance(error, Stopped)
        self._writer.close(None if ends_well else 0 if isinstance(error, KeyboardInterrupt) else LAST_WAIT)

    def kept_at(self, step: int) -> bool:
        """Is there a checkpoint to be kept after so many steps?"""
        return step == len(self.schedule) or bool(self.every and step % self.every == 0)

    @property
    def overdue(self) -> bool:
        """Is it long ago that this process saw a save? Clocks differ: processes must agree on it.

        Also where the save under way has failed, and is the last that may: the next one raises its error.
        """
        last = self._writer.last
        if last.done.is_set() and last.error is not None and self._failures == MOST_FAILURES - 1:
            return True
        return self.minutes is not None and time.monotonic() - self._last > 60 * self.minutes

    def save(self, state: RunState, *, keep: bool = True) -> None:
        """Begin to write the checkpoint of the state's step; all processes call. The next one waits for it.

        One that is not kept is replaced by the next. One that fails is told, and the run goes on; the third
        in a row raises its error here.
        """
        self._settle(last=False)
        used = self.learner.weights()
        saved, without = self.learner.state_dict(), self.learner.without_moments()
        pieces = {name: value for name, value in saved.items() if isinstance(value, Piece)}
        directory = self.run / "checkpoints" / step_name(state.step)
        content: dict[str, Any] = {}

        def begin() -> str | None:
            if is_newest(directory):
                return None  # a run that resumes here and is stopped at once
            samples = self.schedule.samples(state.step)
            parts = dict(self.parts(used))
            document = {
                "step": state.step,
                "samples": samples,
                "totals": dict(state.totals),
                "without_moments": without,
                "kept": keep,
                **self.provenance,
            }
            content.update(
                checkpoints.contents(
                    tower=self.learner.objective.tower,
                    weights=of_tower(self.learner.objective.finished(used)),
                    config={**parts.pop("config"), "step": state.step, "samples": samples},
                    state={name: value for name, value in saved.items() if not isinstance(value, Piece)},
                    state_json=document,
                    **parts,
                )
            )
            return f".{directory.name}.{secrets.token_hex(4)}.tmp"

        temporary = self.world.on_main(begin)
        self._last = time.monotonic()
        if temporary is None:
            return
        self._under_way, self._in_parts = True, bool(pieces)
        if pieces:
            name = shard_name(self.world.rank, self.world.size)
            content[name] = {name: piece.tensor for name, piece in pieces.items()}
        if content:
            part = Part(
                directory=str(directory),
                temporary=str(directory.with_name(temporary)),
                files={},
                number=self.world.rank,
                parts=self.world.size if pieces else 1,
                pieces={n: (list(p.shape), p.first, len(p.tensor)) for n, p in pieces.items()},
                keep_last=self.keep_last,
                keep_every=self.keep_every,
            )
            self._writer.save(part, content, self.learner.objective.buffers())

    def finish(self) -> None:
        """Wait until the last checkpoint is complete, or raise why it is not. All processes call."""
        self._settle(last=True)

    def _settle(self, *, last: bool) -> None:
        """Wait for the save under way, if there is one; all processes agree how it ended."""
        if not self._under_way:
            return
        self._under_way = False
        failed: list[str] = []
        if self._in_parts:
            # Not rank 0, which may wait for the part of one that has failed.
            own = None if self.world.is_main else self._error()
            failed = self.world.gather([] if own is None else [f"process {self.world.rank}: {own.message}"])

        def end() -> None:
            if failed:
                self._writer.abandon(failed[0])
            error = self._error()
            self._failures = 0 if error is None else self._failures + 1
            if error is not None and (last or self._failures == MOST_FAILURES):
                raise error

        self.world.on_main(end)

    def _error(self) -> CatlipctlError | None:
        self._writer.last.done.wait()
        return self._writer.last.error

    def _tell_failure(self, error: CatlipctlError) -> None:
        self.progress.warn(f"not saved: {error.message} ({error.hint})")

    def _try_folder(self) -> None:
        """Raise CatlipctlError where no checkpoint can be written."""
        with files.replacing(self.run / "checkpoints" / ".writable", sync=False) as temporary:
            temporary.write_bytes(b"")
        (self.run / "checkpoints" / ".writable").unlink()

    def restore(self, checkpoint: Path, progress: Progress = SILENT) -> RunState:
        """Put a checkpoint into the learner, as it was freshly made; where the run was. All processes call.

        CheckpointError for another model or a state that is not whole, DataError for other data.
        """
        tensors, saved = checkpoints.read_state(checkpoint, Saved)
        if step_name(saved.step) != checkpoint.name:
            raise STATE.refused(checkpoint / STATE_JSON, f"it is of step {saved.step:,}")
        for warning in differences(saved.model_dump(), self.provenance, self.learner.objective):
            progress.warn(warning)
        put_into(self.learner, checkpoint, tensors, saved)
        # The pointer may name a damaged one, which is to be written again.
        self.world.on_main(lambda: point(checkpoint))
        progress.note(f"resuming from {checkpoint}, step {saved.step:,}")
        return RunState(saved.step, saved.totals.model_dump())


def put_into(learner: Learner, checkpoint: Path, tensors: State, saved: Saved) -> None:
    """Put a checkpoint's weights and the state that was read of it into a learner. All processes call.

    CheckpointError for another model, or a state that is not whole.
    """
    weights = read_tensors(checkpoint / WEIGHTS)
    try:
        learner.load_state_dict(weights, tensors, saved.without_moments)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint} holds another model than the recipe, or not all of it: "
            f"{str(error).splitlines()[0]}",
            "resume with the recipe of the run (its recipe.yaml)",
        ) from error
