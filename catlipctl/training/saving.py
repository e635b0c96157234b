"""When a run saves, what it saves, and going on from what it saved."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from catlipctl import checkpoints
from catlipctl.checkpoints.directory import STATE, STATE_JSON, WEIGHTS, step_name
from catlipctl.checkpoints.keeping import point, prune
from catlipctl.checkpoints.loading import read_tensors
from catlipctl.data.content import content_hash
from catlipctl.data.sample import Source
from catlipctl.errors import CheckpointError, DataError
from catlipctl.progress import SILENT, Progress
from catlipctl.results import library_versions
from catlipctl.training.learner import Learner
from catlipctl.training.report import RunState
from catlipctl.training.steps import StepSchedule
from catlipctl.training.world import World

Parts = Callable[[Mapping[str, Tensor]], Mapping[str, Any]]
"""The objective's weights as one should use them -> what a task writes beside the tower."""


class _Open(BaseModel):
    """Later versions may save more."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Data(_Open):
    samples: int = Field(ge=0)
    content: str


class _Totals(_Open):
    __pydantic_extra__: dict[str, float]

    seconds: float
    replaced: float


class Saved(_Open):
    """`state.json`: where the run was (see `RunState`), and what decided its losses (`provenance`)."""

    step: int = Field(ge=0, lt=2**63)
    samples: int = Field(ge=0)
    totals: _Totals
    without_moments: list[str] = []
    kept: bool = True
    data: _Data
    processes: int = Field(ge=1)
    micro_batch: int = Field(ge=1)
    threads: int = Field(ge=1)


@dataclass
class Saves:
    """The checkpoints of a run under way.

    every: steps between those that are kept. minutes: between those of which the next takes the place.
    keep_last: how many of those that are kept stay. parts: what the task writes beside the tower.
    provenance: what decides the losses and stands in no recipe.
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
    _last: float = field(default_factory=time.monotonic)

    def kept_at(self, step: int) -> bool:
        """Is there a checkpoint to be kept after so many steps?"""
        return step == len(self.schedule) or bool(self.every and step % self.every == 0)

    @property
    def overdue(self) -> bool:
        """Is it long ago that this process saw a save? Clocks differ: processes must agree on it."""
        return self.minutes is not None and time.monotonic() - self._last > 60 * self.minutes

    def save(self, state: RunState, *, keep: bool = True) -> None:
        """Write the checkpoint of the state's step; all processes call. One that is not kept is replaced."""
        weights, used = self.learner.tower_weights(), self.learner.weights()
        tensors, without = self.learner.state_dict(), self.learner.without_moments()

        def write() -> None:
            samples = self.schedule.samples(state.step)
            parts = dict(self.parts(used))
            config = {**parts.pop("config"), "step": state.step, "samples": samples}
            written = checkpoints.write_step(
                self.run,
                state.step,
                tower=self.learner.objective.tower,
                weights=weights,
                config=config,
                state=tensors,
                state_json={
                    "step": state.step,
                    "samples": samples,
                    "totals": state.totals,
                    "without_moments": without,
                    "kept": keep,
                    **self.provenance,
                },
                **parts,
            )
            prune(written, self.keep_last, self.keep_every)

        self.world.on_main(write)
        self._last = time.monotonic()

    def restore(self, checkpoint: Path, progress: Progress = SILENT) -> RunState:
        """Put a checkpoint into the learner, as it was freshly made; where the run was. All processes call.

        CheckpointError for another model or a state that is not whole, DataError for other data.
        """
        tensors, saved = checkpoints.read_state(checkpoint, Saved)
        if step_name(saved.step) != checkpoint.name:
            raise STATE.refused(checkpoint / STATE_JSON, f"it is of step {saved.step:,}")
        for warning in _differences(saved.model_dump(), self.provenance, self.learner.objective):
            progress.warn(warning)
        weights = read_tensors(checkpoint / WEIGHTS)
        try:
            self.learner.load_state_dict(weights, tensors, saved.without_moments)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{checkpoint} holds another model than the recipe, or not all of it: "
                f"{str(error).splitlines()[0]}",
                "resume with the recipe of the run (its recipe.yaml)",
            ) from error
        # The pointer may name a damaged one, which is to be written again.
        self.world.on_main(lambda: point(checkpoint))
        progress.note(f"resuming from {checkpoint}, step {saved.step:,}")
        return RunState(saved.step, saved.totals.model_dump())


def provenance(source: Source, processes: int, micro_batch: int) -> dict[str, Any]:
    """What decides a run's losses and stands in no recipe; saved with each checkpoint."""
    return {
        "data": {"samples": len(source), "content": content_hash(source)},
        "processes": processes,
        "micro_batch": micro_batch,
        "threads": torch.get_num_threads(),
        "versions": library_versions(),
    }


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], module: nn.Module) -> list[str]:
    """Warnings of what is no longer as it was when the run was saved; DataError for other data."""
    if before["data"] != now["data"]:
        was, is_ = (
            f"{of['data']['samples']:,} samples (content {of['data']['content']})" for of in (before, now)
        )
        raise DataError(
            f"the data is not what this run was trained on: {was} before, {is_} now",
            "resume with the same data, or start a new run by --out",
        )
    warnings = []
    if before["threads"] != now["threads"]:
        warnings.append(
            f"the run had {before['threads']} threads, now {now['threads']}: "
            "losses may differ in the last digits"
        )
    was, is_ = (f"{of['micro_batch']} images in each of {of['processes']} processes" for of in (before, now))
    if was != is_ and any(isinstance(part, _BatchNorm) for part in module.modules()):
        warnings.append(
            f"the run had {was}, now {is_}: the tower's BatchNorm takes its statistics over these, "
            "so losses will differ"
        )
    return warnings
