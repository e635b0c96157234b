"""`catlipctl bench step`: a training step of CatLIP against one of CLIP, and against plain ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.bench.keep import OutFolder, keep
from catlipctl.cli.options import Gpus, Json, Processes
from catlipctl.cli.output import command, is_main, only_main_speaks
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from catlipctl.bench.result import Spread, StepBenchmark


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="open_clip configuration, or a JSON file. Default: ViT-S-16 on a CPU, ViT-B-16 on a GPU.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=2,
        help="Images of each process. Default: 8 on a CPU, 256 on a GPU.",
        show_default=False,
    ),
]
Classes = Annotated[
    int | None,
    typer.Option("--classes", min=1, help="Classes of CatLIP. Default: 24,320.", show_default=False),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the towers by torch.compile.")]


def step(
    model: Model = None,
    batch_size: BatchSize = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            min=1,
            help="Steps of each that count, rounded up to even. Default: a quarter of a minute's.",
            show_default=False,
        ),
    ] = None,
    classes: Classes = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Time a plain timm step beside ours, and a plain open_clip step."),
    ] = False,
    compile: Compile = False,
    find_batch: Annotated[
        bool,
        typer.Option("--find-batch", help="Search the largest batch of CatLIP that fits into memory."),
    ] = False,
    gpus: Gpus = None,
    processes: Processes = None,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time a training step of CatLIP against one of CLIP.

    Both as `pretrain` trains them: the same learner, image tower, batch, precision and optimiser.

    Whatever was trained last: the pair is a named open_clip configuration, with 24,320 classes.
    """
    with command("bench step", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import step as benchmark
        from catlipctl.bench.learners import CLASSES

        only_main_speaks()
        cpu = inputs.only_here(gpus, processes, out_)
        settings = benchmark.StepSettings(
            model=model,
            batch_size=batch_size,
            rounds=rounds,
            classes=classes or CLASSES,
            plain=plain,
            compile=compile,
            find_batch=find_batch,
        )
        result = benchmark.step(settings, out_, cpu=cpu)
        if is_main():
            subtitle = f"{result.model}, {_batch(result)}, {result.precision} on {_device(result)}"
            keep(result, lambda: reports.step(*result.bars(), subtitle), out / "step", plots, out_)
            out_.result(result, _table(result), *_lines(result))


def _table(result: "StepBenchmark") -> "Table":
    headings = (*(row.name for row in result.rows), "CLIP / CatLIP")
    shown = table("", *headings, numbers=headings)
    first = result.rows[0]
    times = [(f"{phase}, ms", [row.phases[phase].median for row in result.rows]) for phase in first.phases]
    _compare(shown, "step, ms", [row.step.median for row in result.rows], _ms)
    shown.add_row("  quartiles", *(f"{_ms(row.step.low)} to {_ms(row.step.high)}" for row in result.rows), "")
    for name, values in times:
        _compare(shown, f"  {name}", values, _ms)
    _compare(shown, "images/s", [row.images_per_second for row in result.rows], "{:,.1f}".format)
    _compare(shown, "parameters, millions", [row.parameters / 1e6 for row in result.rows], "{:,.1f}".format)
    flops = [row.flops_per_sample / 1e9 for row in result.rows]
    _compare(shown, "GFLOPs a sample, forward and backward", flops, "{:,.2f}".format)
    peaks = [row.peak_memory_bytes / 2**20 for row in result.rows]
    _compare(shown, "peak memory, MiB", peaks, "{:,.0f}".format)
    return shown


def _compare(shown: "Table", name: str, values: list[float], text: "Callable[[float], str]") -> None:
    """A row of all values, CatLIP's and CLIP's first, and how many times CatLIP's CLIP's is."""
    catlip, clip, *_ = values
    shown.add_row(name, *map(text, values), f"{clip / catlip:.2f}")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f}" if seconds < 1 else f"{seconds * 1000:,.0f}"


def _lines(result: "StepBenchmark") -> list[str]:
    plain = [
        f"{name} step / our {ours} step = {_times(result.plain[ours])}, median of pairs"
        for ours, name in (("CatLIP", "plain timm"), ("CLIP", "plain open_clip"))
        if ours in result.plain
    ]
    return [
        f"\nCLIP step / CatLIP step = {_times(result.ratio)}, median of pairs",
        *plain,
        *_use(result),
        "",
        f"The image tower of {result.model} at {result.image_size} px on both sides, with {result.classes:,} "
        f"classes or with a text tower of {result.context} tokens.",
        f"{_batch(result)} a step, {result.precision}, AdamW, {_device(result)}; "
        f"median and quartiles of {len(result.rows[0].rounds)} steps of each, taken in turns.",
        "The same made-up batch on this machine, without loading of data: not the paper's protocol (a global "
        "batch of 65,536 over many GPUs), so not to be held against its 2.7x.",
    ]


def _use(result: "StepBenchmark") -> list[str]:
    """What a CatLIP step makes of the device."""
    if (use := result.use) is None:
        return []
    catlip = result.rows[0]
    reached = catlip.flops_per_sample * catlip.images_per_second / result.processes
    share = use.head_and_loss.median / catlip.step.median
    published = "no published peak is known"
    if use.peak is not None:
        published = f"{reached / use.peak:.1%} of the published {use.peak / 1e12:,.0f} ({use.peak_of})"
    lines = [
        "",
        f"A CatLIP step reaches {reached / 1e12:,.3g} TFLOP/s a process: {reached / use.products:.1%} of "
        f"what a large matrix product reaches here, {use.products / 1e12:,.3g}; {published}.",
        f"Head and loss alone: {_ms(use.head_and_loss.median)} ms, {share:.1%} of the step.",
    ]
    if result.compiled:
        lines.append(f"Image towers compiled; compiled again while steps were timed: {use.recompiled} times.")
    if (found := use.largest) is not None:
        more = ", the most that was tried" if found.batch_size == found.searched_to else ""
        peak = found.peak_memory_bytes / 2**30
        lines.append(f"Largest batch of CatLIP that fits: {found.batch_size} images{more}, {peak:.2f} GiB.")
    return lines


def _times(ratio: "Spread") -> str:
    return f"{ratio.median:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})"


def _batch(result: "StepBenchmark") -> str:
    if result.processes == 1:
        return f"{result.batch_size} images"
    return f"{result.processes} x {result.batch_size} images"


def _device(result: "StepBenchmark") -> str:
    names = result.machine["accelerators"]
    if result.device == "cpu" or not names:
        threads = result.machine["threads"]
        return f"CPU with {threads} thread{'s' if threads > 1 else ''}"
    return str(names[0])
