"""`catlipctl bench loss`: what head and loss cost beyond their matrix products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from catlipctl.cli.bench.keep import OutFolder, keep, load_line
from catlipctl.cli.options import Json
from catlipctl.cli.output import command
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.cli.tables import table
from catlipctl.errors import UsageError
from catlipctl.settings.losses import Loss

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.bench.result import LossBenchmark


def loss(
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images.")] = 256,
    classes: Annotated[int, typer.Option("--classes", min=1, help="Outputs of the head.")] = 24_320,
    width: Annotated[int, typer.Option("--width", min=1, help="Features of an image.")] = 768,
    losses: Annotated[
        list[str] | None, typer.Option("--loss", help="Of catlip.loss; repeat it to compare. Default: bce.")
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Turns of each that count, rounded up to even.")
    ] = 12,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time head and loss, forward and backward, against three matrix products of the same shapes."""
    with command("bench loss", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import loss as benchmark

        settings = benchmark.LossSettings(
            batch_size=batch_size, classes=classes, width=width, rounds=rounds, losses=_known(losses)
        )
        result = benchmark.loss(settings, out_)
        subtitle = f"{_shape(result)}; x: times the products"
        keep(result, lambda: reports.head_and_loss(*result.bars(), subtitle), out / "loss", plots, out_)
        out_.result(result, _table(result), *_lines(result))


def _known(names: list[str] | None) -> tuple[Loss, ...]:
    """Each once, in their order; UsageError where there is none of a name."""
    known: dict[str, Loss] = {name: name for name in get_args(Loss)}
    for name in names or []:
        if name not in known:
            raise UsageError(f"no loss is called {name!r}", f"there is: {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names or ["bce"]))


def _table(result: "LossBenchmark") -> "Table":
    unit = "ms of core time" if result.device == "cpu" else "ms"
    headings = (unit, "times the products")
    shown = table("", unit, "quartiles", "times the products", "quartiles ", numbers=headings)
    for row in result.rows:
        ms, ratio = row.seconds, row.ratio
        shown.add_row(
            row.name,
            f"{1000 * ms.median:,.2f}",
            f"{1000 * ms.low:,.2f} to {1000 * ms.high:,.2f}",
            "" if ratio is None else f"{ratio.median:.3f}x",
            "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
        )
    return shown


def _lines(result: "LossBenchmark") -> list[str]:
    return [
        f"{_shape(result)}; {len(result.rows[0].rounds)} rounds in turns. The products reach "
        f"{result.flops_per_second / 1e12:,.3g} TFLOP/s.",
        "dense: torch's binary_cross_entropy_with_logits on targets [B, V] made before.",
        load_line(result.load),
    ]


def _shape(result: "LossBenchmark") -> str:
    return (
        f"{result.batch_size} x {result.width} to {result.classes:,} classes, "
        f"{result.precision} on {result.device}"
    )
