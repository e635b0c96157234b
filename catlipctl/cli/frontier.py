"""`catlipctl frontier`: accuracy against cost, of several methods on the same pairs."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import CacheDir, CaptionKey, ImageKey, Json, LabelKey, Sources
from catlipctl.cli.output import Output, command
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, save
from catlipctl.cli.tables import table
from catlipctl.errors import MachineError, Stopped, UsageError

if TYPE_CHECKING:
    from rich.table import Table as Shown

    from catlipctl.experiments.frontiers.plan import FrontierPlan
    from catlipctl.experiments.frontiers.result import Frontier
    from catlipctl.reports import Table


def frontier(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE...",
            help="The methods: recipes, with a name and changes: NAME=RECIPE:KEY=VALUE:KEY=VALUE, "
            "as in clip=demo:objective=clip. The first is the one to beat.",
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
    budgets: Annotated[
        str,
        typer.Option(
            help="What each run may take: 30s, 2m, 1h of training by a timing of its steps, or numbers of "
            "pairs; own: each recipe's length, at its own rates."
        ),
    ] = "30s,60s,120s",
    lr: Annotated[
        str | None,
        typer.Option(
            help="Learning rates of the grid.  [default: 0.0005,0.001,0.002,0.004]", show_default=False
        ),
    ] = None,
    weight_decay: Annotated[
        str | None,
        typer.Option(help="Weight decays of the grid.  [default: 0.05,0.2]", show_default=False),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Runs of each budget: the recipe's seed, and those after it.")
    ] = 3,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Turns in which each method's steps are timed.")
    ] = 5,
    reach: Annotated[
        list[str] | None,
        typer.Option(
            "--reach",
            metavar="PROBE=ACCURACY",
            help="Tell what each method takes to reach it: cifar10=0.5. Repeats.",
            show_default=False,
        ),
    ] = None,
    data: Sources = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change one key of all methods. Repeats.", show_default=False
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The frontier's folder; the same command goes on in it. Default: runs/frontier.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and how long. Nothing is written.")
    ] = False,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    label_key: LabelKey = None,
    cache_dir: CacheDir = None,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Compare methods by accuracy against cost: the same pairs, budgets and tuning for all.

    Each method's rates are chosen at the smallest budget, by held-out training images of the probes. What is
    finished is never run again, and what was interrupted goes on exactly: give the same command. A method
    that is added to the command is added to the comparison (CatLIP, Figure 4).
    """
    with command("frontier", json=json) as out:
        from catlipctl.experiments.frontiers.methods import methods
        from catlipctl.recipe import Override

        flags = {
            "data.sources": ("--data", data),
            "data.image_key": ("--image-key", image_key),
            "data.caption_keys": ("--caption-key", caption_key),
        }
        shared = [Override.parse(text) for text in set_ or []]
        shared += [Override(key, value, flag) for key, (flag, value) in flags.items() if value]
        compared = methods(words, shared)
        folder = out_dir or Path("runs") / "frontier"
        # After the recipes, which are refused without torch.
        from catlipctl.experiments.folder import open_probes
        from catlipctl.experiments.frontiers import budgets as of
        from catlipctl.experiments.frontiers import frontier as experiment
        from catlipctl.experiments.frontiers.design import Design
        from catlipctl.experiments.frontiers.plan import frontier_plan
        from catlipctl.results import command_line
        from catlipctl.training import launch

        amounts = of.budgets(budgets)
        named = None if target is None else label_set(target, out)
        design = Design(
            compared,
            amounts,
            open_probes(probe or [], named, label_key=label_key, cache_dir=cache_dir, progress=out),
            of.grid(lr, weight_decay, own=amounts[0].unit == "own"),
            seeds,
            rounds,
            dict(_aim(text) for text in reach or []),
        )
        out.uses("frontier", str(folder))
        if dry_run:
            _show_plan(out, frontier_plan(design, folder, cache_dir=cache_dir, progress=out))
            return
        cpu = launch.devices(None, None).cpu
        try:
            result = experiment.frontier(design, folder, cpu=cpu, cache_dir=cache_dir, progress=out)
        except Stopped as stopped:
            stopped.hint = f"go on: {shlex.join(command_line())}"
            raise
        _show(out, result, plots)


def _aim(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        accuracy = float(value)
    except ValueError:
        accuracy = -1
    if not equals or not 0 < accuracy <= 1:
        raise UsageError(f"{text}: not of the form PROBE=ACCURACY", "--reach cifar10=0.5")
    return name, accuracy


def _show(out: Output, result: "Frontier", plots: Kinds) -> None:
    from catlipctl.experiments.frontiers import page

    folder = Path(result.out)
    draw = {folder / f"frontier-{probe}": page.figure(result, probe).draw for probe in page.probes(result)}
    result.files = [str(file) for file in save(draw, plots, out)]
    if result.files:
        try:
            page.write(result, folder / page.PAGE)
            result.files.append(str(folder / page.PAGE))
        except MachineError as missing:
            out.note(f"no page: {missing.message}")
    failed = [f"{row.name}: {row.error}" for row in result.rows if row.error]
    error = result.failure()
    shown = map(_shown, page.tables(result))
    out.result(result, *shown, *failed, f"wrote {folder / 'frontier.json'}", *result.files, error=error)
    if error is not None:
        raise error


def _shown(made: "Table") -> "Shown":
    numeric = [
        name
        for at, name in enumerate(made.columns)
        if all(cell[:1].isdigit() or cell[:1] in "+-–" for cell in (str(row[at]) for row in made.rows))
    ]
    shown = table(*made.columns, numbers=numeric, title=made.caption or None)
    for row in made.rows:
        shown.add_row(*(str(cell) for cell in row))
    return shown


def _show_plan(out: Output, result: "FrontierPlan") -> None:
    from catlipctl.cli.dry_run import duration
    from catlipctl.experiments.frontiers.page import differences

    numbers = ["parameters", "runs to tune", "runs", "finished", "training left"]
    shown = table("method", *numbers, numbers=numbers)
    for method in result.methods:
        shown.add_row(
            method.name,
            f"{method.parameters:,}",
            str(method.tuning_runs),
            str(method.runs),
            str(method.finished),
            "timed first" if method.seconds is None else duration(method.seconds),
        )
    refused = [(method.name, refusal) for method in result.methods for refusal in method.refusals]
    faults = [f"{name} would be refused here: {found.message}; {found.hint}" for name, found in refused]
    grid = ", ".join(f"({lr:g}, {decay:g})" for lr, decay in result.grid) or "none: each recipe's own rates"
    total = "unknown before steps are timed" if result.seconds is None else duration(result.seconds)
    about = [
        f"grid of (lr, weight decay): {grid}",
        f"budgets: {', '.join(result.budgets)}, {result.seeds} seeds",
        f"training of all that is left: {total}; timing, start-up and probes come on top",
    ]
    differing = [_shown(differences(result.differing, [m.name for m in result.methods]))] * bool(
        result.differing
    )
    error = next((found.error() for _, found in refused), None)
    out.result(result, shown, *differing, *about, *faults, error=error)
    if error is not None:
        raise error
