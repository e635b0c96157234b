"""`catlipctl sweep`: a recipe pre-trained for every point of a grid, and each run probed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import CacheDir, CaptionKey, ImageKey, Json, LabelKey, Sources
from catlipctl.cli.output import command
from catlipctl.cli.plots import DEFAULT, Plots, save
from catlipctl.cli.tables import table
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.cli.output import Output
    from catlipctl.experiments.points import Point
    from catlipctl.experiments.sweep import SweepResult


def sweep(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE KEY=VALUE,VALUE...",
            autocompletion=completion.recipes,
            help="A recipe's name or file, and keys with the values that each takes: "
            "vocabulary.threshold=10,50,100.",
            show_default=False,
        ),
    ],
    data: Sources = None,
    probes: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            metavar="SOURCE",
            help="Labelled images that each run is probed on, as for `eval lp`. Repeats.",
            show_default=False,
            autocompletion=completion.sources,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="The label set of the probes' classes.",
            show_default=False,
            autocompletion=completion.targets,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one key for all points. Repeats.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each point, the recipe's seed first.")] = 1,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The sweep's folder; the same command goes on in it. Default: runs/sweep-RECIPE.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the points and what each costs; train nothing.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read the probes' images.")] = 0,
    label_key: LabelKey = None,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    cache_dir: CacheDir = None,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Pre-train a recipe for every point of a grid, and probe each run (CatLIP, Figure 6).

    Each point is a run. What is complete is not made again, and a stopped one goes on exactly.
    """
    with command("sweep", json=json) as out:
        from catlipctl import recipe as recipes
        from catlipctl.experiments.points import Axis, grid
        from catlipctl.recipe import Override

        recipe = [word for word in words if "=" not in word]
        axes = [Axis.parse(word) for word in words if "=" in word]
        if len(recipe) != 1 or not axes:
            raise UsageError(
                "a sweep has one recipe, and a key with its values",
                "catlipctl sweep demo vocabulary.threshold=2,5,10 --probe emoji:transfer",
            )
        flags = {
            "data.sources": ("--data", data),
            "data.image_key": ("--image-key", image_key),
            "data.caption_keys": ("--caption-key", caption_key),
        }
        overrides = [Override.parse(text) for text in set_ or []]
        overrides += [Override(key, value, flag) for key, (flag, value) in flags.items() if value]
        path = recipes.find(recipe[0])
        points = grid(axes, path, overrides, seeds)
        if dry_run:
            _dry_run(points, out, cache_dir)
            return
        from catlipctl import experiments, reports
        from catlipctl.cli.evaluate import slug
        from catlipctl.data import emoji
        from catlipctl.experiments.sweep import Task
        from catlipctl.transfer.labelled import open_splits

        tasks = []
        for source in probes or []:
            named = "emoji" if target is None and source.startswith(emoji.TRANSFER) else target
            train, test = open_splits(source, None, label_key=label_key, cache_dir=cache_dir, progress=out)
            tasks.append(
                Task(
                    source,
                    f"lp-{slug(source)}",
                    train,
                    test,
                    None if named is None else label_set(named, out),
                )
            )
        if len({task.folder for task in tasks}) < len(tasks):
            raise UsageError("two sources of --probe have one name", "name them apart: a/cifar, b/pets")
        folder = out_dir or Path("runs") / f"sweep-{path.stem}"
        out.uses("sweep", str(folder))
        result = experiments.sweep(points, tasks, folder, workers=workers, cache_dir=cache_dir, progress=out)
        drawn = save({folder / "sweep": lambda: reports.sweep(result)}, plots if tasks else "none", out)
        out.result(result, _table(result), f"wrote {', '.join(map(str, [folder / 'sweep.json', *drawn]))}")
        if any(row.status == "failed" for row in result.rows):
            raise typer.Exit(1)


def _table(result: "SweepResult") -> "Table":
    probes = list(dict.fromkeys(probe.data for row in result.rows for probe in row.probes))
    figures = [f"{what} {data}" for data in probes for what in ("probe", "zero-shot")]
    seeds = len({row.seed for row in result.rows}) > 1
    shown = table(
        *result.keys,
        *["seed"] * seeds,
        "classes",
        "loss",
        "seconds",
        *figures,
        numbers=["classes", "loss", "seconds", *figures],
    )
    for row in result.rows:
        found = {probe.data: probe for probe in row.probes}
        accuracies = []
        for data in probes:
            probe = found.get(data)
            accuracies += ["", ""] if probe is None else [f"{probe.acc1:.1%}", _share(probe.zero_shot_acc1)]
        classes = "" if row.vocabulary_size is None else f"{row.vocabulary_size:,}"
        loss = "" if row.final_loss is None else f"{row.final_loss:.4g}"
        loss = "failed" if row.status == "failed" else loss
        seconds = "" if row.seconds is None else f"{row.seconds:,.0f}"
        shown.add_row(*row.changes.values(), *[str(row.seed)] * seeds, classes, loss, seconds, *accuracies)
    return shown


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _dry_run(points: "list[Point]", out: "Output", cache_dir: Path | None) -> None:
    from catlipctl.experiments.sweep import plan

    result = plan(points, cache_dir=cache_dir, progress=out)
    shown = table("point", "images", "PFLOP", "H100 hours", numbers=["images", "PFLOP", "H100 hours"])
    for row in result.points:
        hours = "" if row.gpu_hours is None else f"{row.gpu_hours:.3g}"
        flops = "" if row.flops is None else f"{row.flops / 1e15:,.0f}"
        shown.add_row(row.name, "" if row.images is None else f"{row.images:,}", flops, hours)
    out.result(result, shown)
