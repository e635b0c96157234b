"""`catlipctl bench loader`: how fast a shard becomes training images."""

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli.bench.keep import OutFolder, keep
from catlipctl.cli.lists import several, whole
from catlipctl.cli.options import CacheDir, ImageKey, Json
from catlipctl.cli.output import command
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.bench.result import LoaderBenchmark

EMOJI = "emoji:pairs"
STREAMS = {
    "window": "by the local order, where the shards lie",
    "streamed": "and through a cache that is empty at each turn",
}


def loader(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Images, best your own. Default: emoji.",
            show_default=False,
            autocompletion=completion.sources,
        ),
    ] = None,
    word: Annotated[str | None, typer.Argument(metavar="SOURCE", hidden=True)] = None,
    sizes: Annotated[
        str, typer.Option("--sizes", help="Pixels per side; separate several by commas.")
    ] = "224,128",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that load; 0: the speed of one core.")
    ] = 0,
    streamed: Annotated[
        bool,
        typer.Option("--streamed", help="Compare a stream with random access, both decoded fast."),
    ] = False,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time images of a shard to training crops: decoded fast, exactly, and by webdataset with torchvision.

    All read the first 1,024 readable images of SOURCE, in one shard or one a worker; with --streamed 8,192,
    in eight.
    """
    with command("bench loader", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import loader as benchmark
        from catlipctl.data import open_source

        asked = several(sizes, "--sizes", whole(1, 4096), "224,128")
        source = inputs.either(data, word, "--data")
        name = source or EMOJI
        if source is None:
            out_.note("images: the embedded emoji, drawings as PNG; --data takes yours")
        opened = open_source(name, image_key=image_key, need="images", cache_dir=cache_dir, progress=out_)
        result = benchmark.loader(opened, asked, workers=workers, streamed=streamed, progress=out_)
        subtitle = f"{_images(result)}; x: times webdataset"
        keep(result, lambda: reports.loader(*result.bars(), subtitle), out / "loader", plots, out_)
        out_.uses("data", name)
        out_.result(result, *_tables(result), *_lines(result))


def _tables(result: "LoaderBenchmark") -> "list[Table]":
    speed = "images/s" if result.workers else "images/s of one core"
    shown = table("px", "path", speed, "quartiles", "times webdataset", "quartiles ", numbers=["px", speed])
    for row in result.rows:
        speeds, ratio = row.images_per_second, row.ratio
        shown.add_row(
            str(row.size),
            row.name,
            f"{speeds.median:,.0f}",
            f"{speeds.low:,.0f} to {speeds.high:,.0f}",
            "" if ratio is None else f"{ratio.median:.2f}x",
            "" if ratio is None else f"{ratio.low:.2f} to {ratio.high:.2f}",
        )
    return [shown]


def _lines(result: "LoaderBenchmark") -> list[str]:
    rounds = len(result.rows[0].rounds)
    streamed = any(row.name in STREAMS for row in result.rows)
    shards = "eight shards" if streamed else "one shard a worker"
    lines = [
        f"{_images(result)}, {result.bytes / 1000:,.0f} kB (medians), in {shards}.",
        f"Random resized crop and flip to uint8 chunks of {result.chunk}; {rounds} rounds in turns, "
        f"{_clock(result.workers)}.",
        "fast: simplejpeg and torch's resize, of JPEGs. exact: Pillow.",
    ]
    rows = {(row.name, row.size): row.rounds for row in result.rows}
    for (name, size), speeds in rows.items():
        if name in STREAMS:
            ratios = [ours / other for ours, other in zip(speeds, rows["fast", size], strict=True)]
            lines.append(
                f"{name} at {size} px ({STREAMS[name]}): {statistics.median(ratios):.3f} times fast."
            )
    if streamed:
        if not result.left_out:
            lines.append("webdataset: shard in order, DataLoader, our fast decode and crops.")
    elif not result.left_out:
        lines.append(
            "webdataset: shard in order, DataLoader, Pillow, torchvision's v2 transforms; bytes, not floats."
        )
    lines += [f"{name} is left out; this brings it: {hint}" for name, hint in result.left_out.items()]
    return lines


def _images(result: "LoaderBenchmark") -> str:
    formats = ", ".join(f"{count:,} {form}" for form, count in result.formats.items())
    return f"{formats}, {result.width:.0f} x {result.height:.0f}"


def _clock(workers: int) -> str:
    if workers == 0:
        return "in a core's time"
    return f"{workers} worker{'s' if workers > 1 else ''} each, by the clock"
