"""catlipctl pretrain: train an image tower on image-text pairs by a recipe."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli import dry_run as dry_run_
from catlipctl.cli import resume as resuming
from catlipctl.cli.options import (
    AllowRecipeChange,
    CacheDir,
    CaptionKey,
    Gpus,
    ImageKey,
    Json,
    Processes,
    Sources,
    Strict,
)
from catlipctl.cli.output import Output, command, is_main, only_main_speaks
from catlipctl.cli.plots import DEFAULT, Kinds, Plots, save
from catlipctl.cli.tables import facts, losses
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from catlipctl.pretraining import PretrainResult


def pretrain(
    recipe: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            autocompletion=completion.recipes,
            help="A recipe's name (catlipctl recipe list) or file; with --resume also a run. Default: demo.",
            show_default=False,
        ),
    ] = None,
    data: Sources = None,
    vocab: Annotated[
        Path | None,
        typer.Option(
            "--vocab",
            help="Vocabulary file. Default: counted from the data.",
            show_default=False,
            autocompletion=completion.vocabularies,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The run's directory. Default: a new runs/RECIPE.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key. Repeats.", show_default=False),
    ] = None,
    gpus: Gpus = None,
    processes: Processes = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with a run: the one named as RECIPE or by --out; else RECIPE's newest unfinished "
            "run, or a new one if there is none; without RECIPE the newest unfinished run under ./runs.",
        ),
    ] = False,
    allow_recipe_change: AllowRecipeChange = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check all that the run would check; show every value, its origin, and what the run costs. "
            "A wrong path or value ends with the run's own error and exit code. What only this machine "
            "lacks (GPUs), and data that is not named yet, is listed, and the exit code is 0.",
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="With --dry-run: take three real steps, to tell time and memory. A vocabulary that is yet "
            "to be counted is not: made-up classes stand in.",
        ),
    ] = False,
    print_launch: Annotated[
        bool, typer.Option("--print-launch", help="Show the torchrun command to type, on each node.")
    ] = False,
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", min=1, help="With --print-launch: machines. Default: 1.", show_default=False),
    ] = None,
    master: Annotated[
        str | None,
        typer.Option(
            "--master",
            metavar="HOST:PORT",
            help="With --print-launch and --nodes: the first machine, as the others reach it.",
            show_default=False,
        ),
    ] = None,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    cache_dir: CacheDir = None,
    strict: Strict = False,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Pre-train an image tower on image-text pairs by a recipe.

    Without any argument: the demo, on real images that pip brings.
    """
    with command("pretrain", json=json) as out_:
        from catlipctl.recipe import Override, load
        from catlipctl.settings.pretraining import PretrainRecipe

        only_main_speaks()
        flags = {
            "data.sources": ("--data", data),
            "vocabulary.path": ("--vocab", str(vocab) if vocab else None),
            "data.image_key": ("--image-key", image_key),
            "data.caption_keys": ("--caption-key", caption_key),
            "data.strict": ("--strict", strict or None),
        }
        overrides = [Override.parse(text) for text in set_ or []]
        overrides += [Override(key, value, flag) for key, (flag, value) in flags.items() if value]
        chosen = resuming.pretraining(
            recipe or [], out, out_, data=bool(data), resume=resume, allow_changes=allow_recipe_change
        )
        loaded = load(PretrainRecipe, chosen.recipe, overrides)
        # The processes that this one starts must not choose again.
        arguments = [] if out or chosen.out is None else ["--out", str(chosen.out)]
        if dry_run and print_launch:
            raise UsageError("--dry-run and --print-launch together", "leave one out: each shows one thing")
        if dry_run:
            from catlipctl.pretraining.checks import Place

            place = Place(gpus, processes, chosen.out, chosen.name, resume, allow_recipe_change, cache_dir)
            dry_run_.pretraining(out_, loaded, place, probed=probe)
            return
        if probe:
            raise UsageError("--probe without --dry-run", "add --dry-run: a run itself tells its speed")
        if print_launch:
            _show_launch(out_, gpus, processes, nodes or 1, master or "", arguments)
            return
        if nodes is not None or master is not None:
            raise UsageError(
                "--nodes and --master start nothing", "add --print-launch: it shows what to type on each node"
            )
        cpu = inputs.only_here(gpus, processes, out_, arguments)
        # After the recipe, which is refused without torch.
        from catlipctl import pretraining

        result = pretraining.pretrain(
            loaded.value,
            out=chosen.out,
            name=chosen.name,
            resume=resume,
            allow_changes=allow_recipe_change,
            cpu=cpu,
            cache_dir=cache_dir,
            progress=out_,
        )
        if is_main():
            _show(out_, result, plots)


def _show_launch(
    out: Output, gpus: int | None, processes: int | None, nodes: int, master: str, further: list[str]
) -> None:
    """The lines for nodes that have the devices; this machine need not have them."""
    from catlipctl.training.launch import LaunchCommand, not_together, torchrun_lines, world_size

    not_together(gpus, processes)
    typed = _without(sys.argv[1:], {"--print-launch": 0, "--nodes": 1, "--master": 1})
    lines = torchrun_lines([*typed, *further], world_size(gpus, processes), nodes, master)
    out.result(LaunchCommand(command=lines[0], commands=lines), *lines)
    if nodes > 1:
        out.note("each line is for one node; the run's directory must be the same folder on all of them")


def _without(arguments: Sequence[str], options: Mapping[str, int]) -> list[str]:
    """The arguments but for some options: name -> how many words follow it."""
    kept, passed = [], 0
    for argument in arguments:
        name, given, _ = argument.partition("=")
        if passed:
            passed -= 1
        elif name in options:
            passed = 0 if given else options[name]
        else:
            kept.append(argument)
    return kept


def _show(out: Output, result: "PretrainResult", plots: Kinds) -> None:
    """The run in a few lines, and its loss as RUN/loss.png."""
    from catlipctl import reports
    from catlipctl.reports.logs import Evaluated

    run = Path(result.run)
    written = save({run / "loss": lambda: reports.run_loss(run)}, plots, out)
    about = {
        "run": result.run,
        "checkpoint": result.checkpoint,
        "steps": f"{result.steps:,} ({result.samples:,} images in {result.seconds:,.1f} s, "
        f"{result.images_per_second:,.0f} images/s)",
        "loss": losses(result.first_loss, result.final_loss),
        "held-out pairs": Evaluated.model_validate(result.validation).told() if result.validation else None,
        "vocabulary": None if result.vocabulary_size is None else f"{result.vocabulary_size:,} classes",
        "passed over": ", ".join(f"{kind}: {count:,}" for kind, count in result.faults.items()),
        "images without a label": _share(result.unlabelled_share),
        "unreadable, replaced": f"{result.replaced:,} times" if result.replaced else None,
        "skipped, not finite": f"{result.skipped:,} steps" if result.skipped else None,
        "plot": written[0] if written else None,
    }
    # Transfer Init takes rows of classes that mean something, which a contrastive run has not.
    initialise = "" if result.vocabulary_size is None else "transfer-init --target TARGET, "
    then = f"catlipctl {initialise}eval lp --data FOLDER, or report {run}"
    out.result(result, facts(about), f"next: {then}")


def _share(share: float | None) -> str | None:
    return f"{share:.1%} of those seen" if share else None
