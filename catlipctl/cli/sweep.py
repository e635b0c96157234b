"""`catlipctl sweep`: a pre-training run and its probes for each value of a recipe's keys."""

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import CacheDir, CaptionKey, Gpus, ImageKey, Json, LabelKey, Processes, Sources
from catlipctl.cli.output import Output, command, only_main_speaks
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, save
from catlipctl.cli.tables import table
from catlipctl.errors import Stopped, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.experiments.folder import ProbeData, Row
    from catlipctl.experiments.plan import Plan
    from catlipctl.experiments.points import Axis, Point
    from catlipctl.experiments.sweep import Sweep
    from catlipctl.training.launch import Devices

AXIS = re.compile(r"[A-Za-z_][\w.]*=")


def sweep(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE KEY=V1,V2...",
            help="A recipe's name or file, and keys with the values that each takes: "
            "vocabulary.threshold=10,50,100. Several keys make a cross product.",
            show_default=False,
            autocompletion=completion.recipes,
        ),
    ],
    probe: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            metavar="SOURCE",
            help="Labelled images on which each run is probed, as by eval lp --data. Repeats.",
            show_default=False,
            autocompletion=completion.sources,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="The label set of the probes' classes. Default: as eval lp.",
            show_default=False,
            autocompletion=completion.targets,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Runs of each value: the recipe's seed, and those after it.")
    ] = 1,
    data: Sources = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one key of all runs. Repeats.", show_default=False
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The sweep's folder; the same command goes on in it. Default: runs/sweep-RECIPE.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the points, and what each one costs. Nothing is written.")
    ] = False,
    gpus: Gpus = None,
    processes: Processes = None,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    label_key: LabelKey = None,
    cache_dir: CacheDir = None,
    plots: Plots = DEFAULT,
    json: Json = False,
    work_on: Annotated[str | None, typer.Option(hidden=True, help="In a process of a point.")] = None,
) -> None:
    """Pre-train a recipe for every point of a grid, and probe each run (CatLIP, Figure 6).

    Each point is a run. What is finished is never run again, and what was interrupted goes on exactly: give
    the same command. --gpus and --processes are of each run and of each probe, as of pretrain and eval lp.
    """
    with command("sweep", json=json) as out:
        from catlipctl.experiments.points import grid
        from catlipctl.recipe import Override

        only_main_speaks()
        path, axes = _told_apart(words)
        flags = {
            "data.sources": ("--data", data),
            "data.image_key": ("--image-key", image_key),
            "data.caption_keys": ("--caption-key", caption_key),
        }
        overrides = [Override.parse(text) for text in set_ or []]
        overrides += [Override(key, value, flag) for key, (flag, value) in flags.items() if value]
        points = grid(path, axes, overrides, seeds=seeds)
        folder = out_dir or Path("runs") / f"sweep-{path.stem}"
        # After the recipes, which are refused without torch.
        from catlipctl.experiments.folder import Folder, open_probes
        from catlipctl.experiments.plan import plan
        from catlipctl.training import launch

        labels = None if target is None else label_set(target, out)
        probes = open_probes(probe or [], labels, label_key=label_key, cache_dir=cache_dir, progress=out)
        out.uses("sweep", str(folder))
        if dry_run:
            shown = plan(
                points,
                probes,
                folder,
                gpus=gpus,
                processes=processes,
                cache_dir=cache_dir,
                progress=out,
            )
            _show_plan(out, shown)
            return
        wanted = launch.devices(gpus, processes)
        if work_on is not None:
            point = next(point for point in points if point.name == work_on)
            Folder(folder, probes).work(point, cpu=wanted.cpu, cache_dir=cache_dir, progress=out)
            return
        if wanted.note:
            out.note(wanted.note)
        _show(out, _swept(out, points, probes, folder, wanted, cache_dir), plots)


def _told_apart(words: list[str]) -> "tuple[Path, list[Axis]]":
    """The recipe's file and the keys with their values, in any order."""
    from catlipctl.experiments.points import Axis
    from catlipctl.recipe import find

    axes = [Axis.parse(word) for word in words if AXIS.match(word)]
    recipes = [word for word in words if not AXIS.match(word)]
    if len(recipes) != 1 or not axes:
        raise UsageError(
            "a sweep has one recipe, and a key with its values",
            "catlipctl sweep demo vocabulary.threshold=2,5,10 --probe emoji:transfer",
        )
    return find(recipes[0]), axes


def _swept(
    out: Output,
    points: "list[Point]",
    probes: "list[ProbeData]",
    folder: Path,
    wanted: "Devices",
    cache_dir: Path | None,
) -> "Sweep":
    """Bring all points to their end: in this process, or each run and each probe in several."""
    from catlipctl.experiments import sweep as experiment
    from catlipctl.results import command_line
    from catlipctl.training import launch

    def start(point: "Point") -> int:
        typed = [word for word in sys.argv[1:] if word != "--json"]
        return launch.launch([*typed, "--work-on", point.name], wanted, out)

    out.note(f"sweep: {folder}, {len(points)} points")
    try:
        return experiment.sweep(
            points,
            probes,
            folder,
            cpu=wanted.cpu,
            cache_dir=cache_dir,
            start=start if wanted.processes > 1 else None,
            progress=out,
        )
    except Stopped as stopped:
        stopped.hint = f"go on: {shlex.join(command_line())}"
        raise


def _show(out: Output, result: "Sweep", plots: Kinds) -> None:
    from catlipctl.reports.sweep import sweep as figure

    folder, key = Path(result.out), result.keys[0]
    series = result.series()
    if series:
        written = save({folder / "sweep": lambda: figure(series, key, result.out)}, plots, out)
        result.files = [str(file) for file in written]
    faults = [f"{row.name}: {row.error}" for row in result.rows if row.error]
    error = result.failure()
    out.result(result, _table(result), *faults, f"wrote {folder / 'sweep.json'}", *result.files, error=error)
    if error is not None:
        raise error


def _table(result: "Sweep") -> "Table":
    data = list(dict.fromkeys(name for row in result.rows for name in row.probes))
    probes = [title for name in data for title in (name, "zero-shot")]
    numbers = ["seed", "classes", "steps", "time", "loss"]
    short = [key.rpartition(".")[2] for key in result.keys]
    keys = short if len(set(short)) == len(short) else result.keys
    shown = table(*keys, *numbers, *probes, "state", numbers=[*keys, *numbers])
    for row in result.rows:
        cells = [cell for name in data for cell in _cells(row, name)]
        size = "–" if row.vocabulary_size is None else f"{row.vocabulary_size:,}"
        loss = "–" if row.final_loss is None else f"{row.final_loss:.4g}"
        values = [str(value) for value in row.values.values()]
        about = [str(row.seed), size, f"{row.steps:,}", f"{row.seconds:,.0f} s", loss]
        shown.add_row(*values, *about, *cells, row.state)
    return shown


def _cells(row: "Row", name: str) -> tuple[str, str]:
    found = row.probes.get(name)
    if found is None:
        return "–", "–"
    return (
        _figure(found.figure, found.interval),
        "–" if found.zero_shot is None else _figure(found.zero_shot, found.zero_shot_interval),
    )


def _figure(figure: float, interval: tuple[float, float] | None) -> str:
    told = f"{100 * figure:.1f}"
    return told if interval is None else f"{told} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _show_plan(out: Output, result: "Plan") -> None:
    from catlipctl.cli.dry_run import digits, duration

    numbers = ["steps", "done", "images", "classes", "TFLOP", "hours of an H100", "time"]
    shown = table("point", *numbers, "state", numbers=numbers)
    for point in result.points:
        shown.add_row(
            point.name,
            "?" if point.steps is None else f"{point.steps:,}",
            f"{point.steps_before:,}",
            "?" if point.images is None else f"{point.images:,}",
            "counted first" if point.vocabulary_size is None else f"{point.vocabulary_size:,}",
            "–" if point.flops is None else digits(point.flops / 1e12, 3),
            "–" if point.gpu_hours is None else digits(point.gpu_hours, 2),
            "–" if point.state == "finished" or point.seconds is None else duration(point.seconds),
            point.state,
        )
    total = "unknown" if result.seconds is None else duration(result.seconds)
    refused = [(point.name, refusal) for point in result.points for refusal in point.refusals]
    faults = [f"{name} would be refused here: {found.message}; {found.hint}" for name, found in refused]
    about = f"training of all that is left: {total}, estimated, if the loader keeps up; probes come on top"
    error = next((found.error() for _, found in refused), None)
    out.result(result, shown, about, *faults, error=error)
    if error is not None:
        raise error
