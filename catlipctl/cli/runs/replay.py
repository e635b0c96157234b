"""`catlipctl runs replay`: where in a run the first value was that is not finite."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import CacheDir, Json
from catlipctl.cli.output import command
from catlipctl.cli.tables import facts, table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.training.replay import Replay, ReplayedStep

WHERE = {"output": "output of {}", "loss": "the loss ({})", "gradient": "gradient of {}"}


def replay(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="A run that ended with exit code 6.", autocompletion=completion.runs
        ),
    ],
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave GPUs alone.")] = False,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Take the steps again that ended a run, on one process, and show where loss or gradient breaks."""
    with command("runs replay", json=json) as out:
        from catlipctl.training import capture

        # Before all that takes long to load.
        capture.read(run)
        from catlipctl import pretraining

        result = pretraining.replay(run, cpu=cpu, cache_dir=cache_dir, progress=out)
        out.result(result, *_tables(result))


def _tables(found: "Replay") -> list["Table | str"]:
    about = {
        "run": found.run,
        "weights": found.checkpoint,
        "processes then": found.processes,
        "now": f"one on {found.device}, {found.precision}",
    }
    shown = table(
        "step", "loss", "gradient", "first not finite", "process", "piece", "samples", numbers=["step"]
    )
    for step in found.steps:
        shown.add_row(*_row(step))
    return [facts(about), shown, *_ending(found)]


def _ending(found: "Replay") -> list[str]:
    """What the table leaves open."""
    if not found.shown:
        return ["all is finite here: it came of the device, or of what several processes sum"]
    if any(step.grad_norm is None and step.fault is None for step in found.steps):
        return [
            "the norm alone: each gradient is finite, but all together are more than float32 holds. The "
            "weights have diverged: take a lower optimiser.lr, from an earlier checkpoint or from the start"
        ]
    return []


def _row(step: "ReplayedStep") -> list[str]:
    numbers = [
        str(step.step),
        *("not finite" if n is None else f"{n:.4g}" for n in (step.loss, step.grad_norm)),
    ]
    fault = step.fault
    if fault is None:
        return [*numbers, "the norm alone" if step.grad_norm is None else "nothing", "", "", ""]
    samples = ", ".join(map(str, fault.samples[:8])) + (", ..." if len(fault.samples) > 8 else "")
    return [*numbers, WHERE[fault.where].format(fault.name), str(fault.rank), str(fault.piece), samples]
