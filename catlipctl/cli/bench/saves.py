"""`catlipctl bench saves`: what saving costs a run on this machine and disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli.bench.keep import OutFolder, keep, load_line
from catlipctl.cli.options import Json
from catlipctl.cli.output import command
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.bench.result import Spread
    from catlipctl.bench.saves import SavesBenchmark


def saves(
    model: Annotated[str, typer.Option("--model", help="A tower of timm's.")] = "vit_base_patch16_224",
    image_size: Annotated[int, typer.Option("--image-size", min=8, max=4096)] = 224,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=65536)] = 2,
    steps: Annotated[int, typer.Option("--steps", min=1, max=10_000, help="Steps after each save.")] = 10,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=1000)] = 6,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time training with saves that it waits for, with saves beside it, and without, in turns.

    Checkpoints are written into a folder under --out, and deleted.
    """
    with command("bench saves", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import saves as benchmark

        result = benchmark.saves(
            out,
            model=model,
            image_size=image_size,
            batch_size=batch_size,
            steps=steps,
            rounds=rounds,
            progress=out_,
        )
        subtitle = f"{result.parameters / 1e6:,.0f} M parameters, {result.checkpoint_bytes / 2**30:.2f} GiB"
        keep(result, lambda: reports.saves(result.bars(), subtitle), out / "saves", plots, out_)
        out_.result(result, *_tables(result), *_lines(result))


def _tables(result: "SavesBenchmark") -> "list[Table]":
    shown = table(
        "save", "stands still", "share", "longer by", "share ", "peak memory", numbers=["peak memory"]
    )
    for row in result.rows:
        shown.add_row(
            row.name,
            _spread(row.stall),
            _spread(row.stall_share, percent=True),
            _spread(row.lost),
            _spread(row.lost_share, percent=True),
            f"{row.peak_memory_bytes / 2**30:.2f} GiB",
        )
    return [shown]


def _spread(spread: "Spread", *, percent: bool = False) -> str:
    """Median and quartiles: of seconds, or of shares."""
    median, low, high = (
        f"{100 * value:.1f} %" if percent else f"{value:.2f} s"
        for value in (spread.median, spread.low, spread.high)
    )
    return f"{median} ({low} to {high})"


def _lines(result: "SavesBenchmark") -> list[str]:
    turn, rounds = result.seconds.median, len(result.rows[0].rounds)
    return [
        f"{result.model}, {result.parameters:,} parameters; a checkpoint of {result.checkpoint_bytes:,} "
        f"bytes, complete in {result.written.median:.1f} s.",
        f"Turns of {result.steps} steps of {result.batch_size} images ({turn:.1f} s without a save); "
        f"medians and quartiles of {rounds} rounds.",
        "Shares: of the time for which training stands still at the synchronous save of the same round.",
        load_line(result.load),
    ]
