"""`catlipctl bench loop`: what the training loop adds to the sums that it does."""

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

    from catlipctl.bench.result import LoopBenchmark


def loop(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="open_clip configuration, or a JSON file. Default: ViT-S-16 on a CPU, ViT-B-16 on a GPU.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=2, help="Default: 8 on a CPU, 256 on a GPU.", show_default=False),
    ] = None,
    classes: Annotated[int, typer.Option("--classes", min=1, help="Classes of CatLIP.")] = 24_320,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the towers by torch.compile.")] = False,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Turns of each that count, rounded up to even.")
    ] = 12,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time the loop that trains against a bare loop that clips and averages too.

    On one made-up batch, which is on the device already: images a second of one over those of the other.
    """
    with command("bench loop", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import loop as benchmark

        settings = benchmark.LoopSettings(
            model=model, batch_size=batch_size, classes=classes, compile=compile, rounds=rounds
        )
        result = benchmark.loop(settings, out_)
        subtitle = f"{result.model}, {result.batch_size} images, {result.precision} on {result.device}"
        keep(result, lambda: reports.loop(*result.bars(), subtitle), out / "loop", plots, out_)
        out_.result(result, _table(result), *_lines(result))


def _table(result: "LoopBenchmark") -> "Table":
    speed = "images/s of core time" if result.device == "cpu" else "images/s"
    shown = table("", speed, "quartiles", numbers=[speed])
    for row in result.rows:
        speeds = row.images_per_second
        shown.add_row(row.name, f"{speeds.median:,.1f}", f"{speeds.low:,.1f} to {speeds.high:,.1f}")
    return shown


def _lines(result: "LoopBenchmark") -> list[str]:
    ratio = result.ratio
    return [
        f"\nloop / bare loop = {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f}), median of pairs",
        "",
        f"{result.model} at {result.image_size} px with {result.classes:,} classes, {result.batch_size} "
        f"images a step, {result.precision} on {result.device}{', compiled' if result.compiled else ''}; "
        f"{len(result.rows[0].rounds)} rounds in turns.",
        "loop: the one of pretrain, a row of metrics each step. bare loop: forward, loss, backward, "
        "clipping, AdamW, EMA.",
        load_line(result.load),
    ]
