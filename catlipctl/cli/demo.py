"""`catlipctl demo`: everything in one go, ending in a page of plots."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli.options import CacheDir, Json
from catlipctl.cli.output import command
from catlipctl.cli.tables import facts, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from catlipctl.experiments.demo import DemoResult


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The run's directory. Default: a new runs/demo.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one key of the recipe. Repeats.", show_default=False
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a demo that was stopped, in --out or the last one.")
    ] = False,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Do all of it on small real data, ending in a page of plots."""
    with command("demo", json=json) as output:
        from catlipctl.experiments import demo as experiment

        result = experiment.demo(out=out, resume=resume, overrides=set_, cache_dir=cache_dir, progress=output)
        output.result(result, *_shown(result))


def _shown(result: "DemoResult") -> "list[RenderableType]":
    from catlipctl.experiments.demo_page import accuracy_table

    accuracies = accuracy_table(result)
    accuracy = table(*accuracies.columns, numbers=accuracies.columns[1:])
    for row in accuracies.rows:
        accuracy.add_row(*row)
    share, found = result.probes.majority_share, result.probes.zero_shot_acc1
    zero_shot = "no class has a row" if found is None else f"{found:.1%}"
    overlap, init, ratio = result.overlap, result.transfer_init, result.benchmark.cases[0].ratios["clip"]
    about = {
        "zero-shot": f"{zero_shot}; the largest class is {share:.1%} of the test images",
        "overlap": f"{overlap.exact:,} of {overlap.classes:,} ImageNet classes are in the vocabulary",
        "places365": ", ".join(f"{count} {how}" for how, count in init.counts.items()),
        "step": f"CLIP takes {ratio.median:.2f}x as long as CatLIP ({ratio.low:.2f} to {ratio.high:.2f})",
        "time": f"{result.seconds / 60:.1f} min",
        "report": result.report,
    }
    return [accuracy, facts(about)]
