"""`catlipctl bench labels`: how fast captions become labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli.bench.keep import OutFolder, keep, load_line
from catlipctl.cli.options import CacheDir, CaptionKey, Json
from catlipctl.cli.output import command
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.bench.result import LabelsBenchmark


def labels(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Captions: a text file with one a line (.txt, .txt.gz), or a SOURCE. Default: emoji.",
            show_default=False,
            autocompletion=completion.sources,
        ),
    ] = None,
    word: Annotated[str | None, typer.Argument(metavar="SOURCE", hidden=True)] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Read at most so many captions, the first ones.")
    ] = 30_000,
    caption_key: CaptionKey = None,
    cache_dir: CacheDir = None,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time captions to labels on one core: each extractor, and the reference path of NLTK.

    Cold: each caption once, in a process that has just begun. Warm: the same captions again.
    """
    with command("bench labels", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import labels as benchmark

        read = benchmark.read_captions(
            inputs.either(data, word, "--data"),
            limit,
            caption_keys=tuple(caption_key or ()),
            cache_dir=cache_dir,
            progress=out_,
        )
        result = benchmark.labels(read, out_)
        subtitle = f"{result.captions:,} captions, {Path(read.name).name}; x: times the reference"
        keep(result, lambda: reports.labels(result.bars(), subtitle), out / "labels", plots, out_)
        out_.uses("captions", read.name)
        out_.result(result, *_tables(result), *_lines(result))


def _tables(result: "LabelsBenchmark") -> "list[Table]":
    names = [row.name for row in result.rows]
    shown = table("captions/s of one core", *names, numbers=names)
    rows = result.rows
    shown.add_row("cold", *(f"{row.cold:,.0f}" for row in rows))
    shown.add_row("  times the reference", *(_times(row.cold_ratio) for row in rows))
    shown.add_row("  chunks remembered", *(_share(row.remembered) for row in rows))
    shown.add_row("warm, median", *(f"{row.warm.median:,.0f}" for row in rows))
    shown.add_row("  quartiles", *(f"{row.warm.low:,.0f} to {row.warm.high:,.0f}" for row in rows))
    shown.add_row("  best", *(f"{row.warm_best:,.0f}" for row in rows))
    shown.add_row("  times the reference", *(_times(row.warm_ratio) for row in rows))
    shown.add_row("  chunks remembered", *(_share(row.remembered_warm) for row in rows))
    shown.add_row("  captions", *(f"{row.warm_captions:,}" for row in rows))
    shown.add_row("labels a caption", *(f"{row.labels:.2f}" for row in rows))
    shown.add_row("captions without label", *(_share(row.without_label) for row in rows))
    shown.add_row("set-up, s", *(f"{row.set_up_seconds:.1f}" for row in rows))
    shown.add_row("share of a core had", *(_share(row.core_share) for row in rows))
    return [shown]


def _lines(result: "LabelsBenchmark") -> list[str]:
    count = f"{result.captions:,} caption{'s' if result.captions > 1 else ''}"
    lines = [f"{count}, {result.distinct:,} of them distinct, each read once in a fresh process: cold."]
    lines.append(
        f"Warm: {result.passes} passes over the same again; where that is slow, over the first of them."
    )
    lines.append(f"Set-up is imports and the loading of data; it is in no speed. {load_line(result.load)}")
    if result.differences is not None:
        same = (
            "gives the labels of the reference on every one"
            if not result.differences
            else (f"gives other labels than the reference on {result.differences:,} of them")
        )
        lines.append(f"corenet {same}.")
    lines += [f"{name} is left out; this brings its data: {hint}" for name, hint in result.left_out.items()]
    return lines


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:,.1f}x"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
