"""`catlipctl bench loss`: what head and loss cost beyond their matrix products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from catlipctl.cli.bench.keep import OutFolder, keep, load_line
from catlipctl.cli.lists import one_of, several, whole
from catlipctl.cli.options import Json
from catlipctl.cli.output import command
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.bench.result import LossBenchmark, LossCase


def loss(
    batch_size: Annotated[str, typer.Option("--batch-size", metavar="IMAGES,...")] = "256",
    classes: Annotated[
        str, typer.Option("--classes", metavar="NUMBER,...", help="Outputs of the head.")
    ] = "24320",
    width: Annotated[int, typer.Option("--width", min=1, help="Features of an image.")] = 768,
    losses: Annotated[
        str, typer.Option("--loss", metavar="NAME,...", help="Of catlip.loss: bce, softmax, ...")
    ] = "bce",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Turns of each that count, rounded up to even.")
    ] = 12,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time head and loss, forward and backward, against three matrix products of the same shapes.

    Of several batches and vocabularies all combinations, one after the other; and the memory that they take.
    """
    with command("bench loss", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import loss as benchmark
        from catlipctl.settings.losses import Loss

        settings = benchmark.LossSettings(
            batch_sizes=several(batch_size, "--batch-size", whole(1, 2**20), "256,1024"),
            classes=several(classes, "--classes", whole(1, 10**7), "24320,49408"),
            width=width,
            rounds=rounds,
            losses=tuple(several(losses, "--loss", one_of(get_args(Loss)), ",".join(get_args(Loss)))),
        )
        result = benchmark.loss(settings, out_)
        subtitle = f"{_features(result)}; x: times the products"
        keep(result, lambda: reports.head_and_loss(*result.bars(), subtitle), out / "loss", plots, out_)
        out_.result(result, *(_table(result, case) for case in result.cases), *_lines(result))


def _table(result: "LossBenchmark", case: "LossCase") -> "Table":
    unit = "ms of core time" if result.device == "cpu" else "ms"
    headings = (unit, "times the products", "MiB", "times theirs")
    shown = table(
        f"{case.batch_size:,} x {case.classes:,}",
        unit,
        "quartiles",
        "times the products",
        "quartiles ",
        *headings[2:],
        numbers=headings,
    )
    least = case.rows[0].memory_bytes
    for row in case.rows:
        ms, ratio = row.seconds, row.ratio
        shown.add_row(
            row.name,
            f"{1000 * ms.median:,.2f}",
            f"{1000 * ms.low:,.2f} to {1000 * ms.high:,.2f}",
            "" if ratio is None else f"{ratio.median:.3f}x",
            "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
            f"{row.memory_bytes / 2**20:,.1f}",
            "" if ratio is None else f"{row.memory_bytes / least:.2f}x",
        )
    return shown


def _lines(result: "LossBenchmark") -> list[str]:
    reached = ", ".join(f"{case.flops_per_second / 1e12:,.3g}" for case in result.cases)
    return [
        f"{_features(result)}; {len(result.cases[0].rows[0].rounds)} rounds in turns. The products reach "
        f"{reached} TFLOP/s.",
        "dense: torch's binary_cross_entropy_with_logits on targets [B, V] made before, not in MiB.",
        load_line(result.load),
    ]


def _features(result: "LossBenchmark") -> str:
    return f"{result.width} features an image, {result.precision} on {result.device}"
