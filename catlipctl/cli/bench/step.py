"""`catlipctl bench step`: training steps of objectives beside each other, and beside plain ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from catlipctl.cli import inputs
from catlipctl.cli.bench.keep import OutFolder, keep
from catlipctl.cli.bench.step_tables import lines, tables
from catlipctl.cli.lists import one_of, several, whole
from catlipctl.cli.options import Gpus, Json, Processes
from catlipctl.cli.output import Output, command, is_main, only_main_speaks
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.errors import CatlipctlError, MachineError

if TYPE_CHECKING:
    from catlipctl.bench.communication import Network
    from catlipctl.bench.labels import Captions

CAPTIONS = 2000
"""By which the host's work is timed."""


def step(
    objectives: Annotated[
        str,
        typer.Option("--objectives", metavar="NAME,...", help="The first is what others are held against."),
    ] = "catlip,clip",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME,...",
            help="open_clip configurations, or JSON files. Default: ViT-S-16 on a CPU, ViT-B-16 on a GPU.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            "--image-size",
            metavar="PIXELS,...",
            help="Pixels a side. Default: the configuration's.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision", metavar="NAME,...", help="auto, bfloat16, tf32 or float32, on all sides."
        ),
    ] = "auto",
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="IMAGES,...",
            help="Images of each process. Default: 8 on a CPU, 256 on a GPU.",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="TOKENS,...",
            help="Tokens that text towers read. Default: the configuration's, 77, and 32.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            min=1,
            help="Steps of each that count, rounded up to even. Default: a quarter of a minute's.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes",
            min=1,
            help="Of label objectives. Default: 24,320; of sub-words 49,408.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Time a plain timm step beside ours, and a plain open_clip step."),
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Compile all towers by torch.compile.")] = False,
    activation_checkpointing: Annotated[
        bool, typer.Option("--activation-checkpointing", help="Compute all towers' blocks again.")
    ] = False,
    ema: Annotated[bool, typer.Option("--ema", help="Average the weights, on all sides.")] = False,
    find_batch: Annotated[
        bool,
        typer.Option("--find-batch-size", help="Search each one's largest batch that fits into a GPU."),
    ] = False,
    memory: Annotated[
        bool,
        typer.Option("--memory/--no-memory", help="Measure peak memory, each in a process of its own."),
    ] = True,
    captions: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Captions by which the host's work is timed: a text file with one a line, or a SOURCE. "
            "Default: the embedded emoji's.",
            show_default=False,
        ),
    ] = None,
    estimate: Annotated[
        str | None,
        typer.Option(
            "--estimate",
            metavar="DEVICES,...",
            help="Estimate the paper's protocol on so many devices like this one.",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", min=1, help="Of the estimate. Default: 8 devices each.", show_default=False),
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(
            "--bandwidth",
            min=1e-3,
            help="Of the estimate: GB/s that a device sends to another node. Default: 50.",
            show_default=False,
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            "--latency",
            min=0,
            help="Of the estimate: microseconds of a message between nodes. Default: 14.",
            show_default=False,
        ),
    ] = None,
    gpus: Gpus = None,
    processes: Processes = None,
    out: OutFolder = Path("bench"),
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Time training steps of objectives, by default CatLIP against CLIP.

    All as `pretrain` trains them: the same learner, image tower, batch, precision and optimiser, in turns.

    Three answers, never one for another: the same batch, each at its largest batch, the paper's protocol.
    """
    with command("bench step", json=json) as out_:
        from catlipctl import reports
        from catlipctl.bench import step as benchmark
        from catlipctl.settings.training import Precision

        only_main_speaks()
        cpu = _only_here(gpus, processes, out_)
        precisions = one_of(get_args(Precision))
        result = benchmark.step(
            benchmark.StepSettings(
                objectives=several(objectives, "--objectives", str, "catlip,clip"),
                models=several(model, "--model", str, "ViT-S-16,ViT-B-16"),
                image_sizes=several(image_size, "--image-size", whole(16, 4096), "224,128") or [None],
                precisions=several(precision, "--precision", precisions, "bfloat16,float32"),
                batch_sizes=several(batch_size, "--batch-size", whole(2, 2**20), "256,512"),
                contexts=several(context, "--context", whole(3, 2**16), "77,32") or [None, 32],
                rounds=rounds,
                classes=classes,
                plain=plain,
                compile=compile,
                activation_checkpointing=activation_checkpointing,
                ema=ema,
                find_batch=find_batch,
                memory=memory,
                captions=_captions(captions, out_),
                estimate=several(estimate, "--estimate", whole(1, 10**6), "64,128,256"),
                nodes=nodes,
                between=_between(bandwidth, latency),
            ),
            out_,
            cpu=cpu,
        )
        if is_main():
            subtitle = f"{result.processes} x {result.cases[0].batch_size} images on {result.device}"
            keep(result, lambda: reports.step(*result.bars(), subtitle), out / "step", plots, out_)
            out_.result(result, *tables(result), *lines(result))


def _only_here(gpus: int | None, processes: int | None, out: Output) -> bool:
    try:
        return inputs.only_here(gpus, processes, out)
    except MachineError as error:
        raise MachineError(
            error.message,
            f"catlipctl bench step --estimate {gpus} extends one process's steps to {gpus} by a stated model "
            "of what they send; --processes N measures N processes on this CPU",
        ) from error


def _captions(named: str | None, out: Output) -> "Captions | None":
    from catlipctl.bench.labels import read_captions

    try:
        return read_captions(named, CAPTIONS)
    except CatlipctlError as error:
        if named is not None:
            raise
        out.note(f"the host's work is not timed: {error.message}; {error.hint}")
        return None


def _between(bandwidth: float | None, latency: float | None) -> "Network":
    from catlipctl.bench.communication import BETWEEN, Network

    if bandwidth is None and latency is None:
        return BETWEEN
    return Network(
        bandwidth=BETWEEN.bandwidth if bandwidth is None else 1e9 * bandwidth,
        latency=BETWEEN.latency if latency is None else 1e-6 * latency,
        source="as given",
    )
