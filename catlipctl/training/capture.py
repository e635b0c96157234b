"""`RUN/capture.json`: the steps that ended a run, as `catlipctl runs replay` takes them again."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.errors import CheckpointError, UsageError
from catlipctl.files import FileKind, write_json
from catlipctl.training.underway import Outcome, Underway
from catlipctl.training.world import World

CAPTURE = "capture.json"
KIND = FileKind("a capture", 2**30, CheckpointError, "only a run that ended with exit code 6 has one")
_COUNT = Field(ge=0, lt=2**63)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class CapturedPiece(_Closed):
    """What a process learned from at once; `number` is its place among the rank's own.

    positions: samples that the run had consumed before each. samples: the source's indices. loss: None where
    it was not finite.
    """

    rank: int = _COUNT
    number: int = _COUNT
    positions: list[int] = Field(min_length=1)
    samples: list[int] = Field(min_length=1)
    loss: float | None


class CapturedStep(_Closed):
    """One step, its pieces rank by rank. step: its number from 1, as metrics have it; the rest: see `Step`.

    found: what was not finite of all ranks' together.
    """

    step: int = Field(ge=1, lt=2**63)
    size: int = Field(ge=1, lt=2**31)
    rows: int = Field(ge=1, lt=2**63)
    start: int = _COUNT
    token_drop: float = Field(default=0.0, ge=0, lt=1)
    found: Literal["loss", "gradient"]
    pieces: list[CapturedPiece] = Field(min_length=1)

    @property
    def at_fault(self) -> list[CapturedPiece]:
        """Those whose loss was not finite; all, where it is the gradient alone, which is known of the sum."""
        return [piece for piece in self.pieces if piece.loss is None] or self.pieces


class Capture(_Closed):
    """What a run leaves that ended with exit code 6.

    checkpoint: its weights, relative to the run: no captured step has changed them. length: steps of the
    whole run. precision: of the forward pass.
    """

    format: Literal["catlipctl-capture"] = "catlipctl-capture"
    version: Literal[1] = 1
    checkpoint: str
    length: int = Field(ge=1, lt=2**63)
    processes: int = Field(ge=1)
    device: str
    precision: Annotated[str, Field(pattern="^(float32|bfloat16)$")]
    steps: list[CapturedStep] = Field(min_length=1)

    def write(self, run: Path) -> Path:
        """Write it into a run's directory, over an earlier one."""
        write_json(run / CAPTURE, self.model_dump(mode="json"))
        return run / CAPTURE


def read(run: Path) -> Capture:
    """A run's capture; CheckpointError where there is none, or it is damaged; UsageError for no run."""
    if not run.is_dir():
        raise UsageError(f"no run at {run}", "catlipctl runs lists those under runs/")
    if not (run / CAPTURE).exists():
        raise CheckpointError(f"{run} has no {CAPTURE}: no loss or gradient has ended it", KIND.hint)
    return KIND.read_json(run / CAPTURE, Capture)


def what(outcome: Outcome) -> Literal["loss", "gradient"]:
    """What of a step that was skipped was not finite."""
    return "gradient" if math.isfinite(outcome.loss) else "loss"


def captured(steps: Sequence[tuple[Underway, Outcome]], world: World) -> list[CapturedStep]:
    """The steps with the pieces of all processes; all call. Waits for the device."""
    return [
        CapturedStep(
            step=underway.step.index + 1,
            size=underway.step.size,
            rows=underway.step.rows,
            start=underway.step.start,
            token_drop=underway.step.token_drop,
            found=what(outcome),
            pieces=world.gather(_pieces(underway, world.rank)),
        )
        for underway, outcome in steps
    ]


def _pieces(underway: Underway, rank: int) -> list[CapturedPiece]:
    """This process's pieces of a step, but for those that do not count."""
    return [
        CapturedPiece(
            rank=rank,
            number=number,
            positions=piece.positions.tolist(),
            samples=piece.samples.tolist(),
            loss=value if math.isfinite(value := float(loss)) else None,
        )
        for number, (piece, loss) in enumerate(zip(underway.pieces, underway.losses, strict=True))
        if piece.counted
    ]
