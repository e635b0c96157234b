"""catlipctl pretrain: train an image tower on image-text pairs by a recipe."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion, inputs, plots
from catlipctl.cli import dry_run as dry_run_
from catlipctl.cli.options import CacheDir, CaptionKey, Gpus, ImageKey, Json, Processes, Sources, Strict
from catlipctl.cli.output import Output, command, is_main, only_main_speaks
from catlipctl.cli.tables import facts
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from catlipctl.pretraining import PretrainResult

DEFAULT_RECIPE = "demo"


def pretrain(
    recipe: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            autocompletion=completion.recipes,
            help="A recipe's name (catlipctl recipe list) or file. Default: demo.",
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
            help="Go on with the run in --out, or the last of this recipe; start it if there is none.",
        ),
    ] = False,
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
        typer.Option("--probe", help="With --dry-run: take three real steps, to tell time and memory."),
    ] = False,
    print_launch: Annotated[
        bool, typer.Option("--print-launch", help="Show the torchrun command for one node.")
    ] = False,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    cache_dir: CacheDir = None,
    strict: Strict = False,
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
        path, name = _recipe_path(recipe or [], data or [], out, resume=resume)
        loaded = load(PretrainRecipe, path, overrides)
        if dry_run:
            from catlipctl.pretraining.checks import Place

            place = Place(gpus, processes, out, name, resume, cache_dir)
            dry_run_.show(out_, loaded, place, probed=probe)
            return
        if probe:
            raise UsageError("--probe without --dry-run", "add --dry-run: a run itself tells its speed")
        if print_launch:
            _show_launch(out_, gpus, processes)
            return
        cpu = inputs.only_here(gpus, processes, out_)
        # After the recipe, which is refused without torch.
        from catlipctl import pretraining

        result = pretraining.pretrain(
            loaded.value,
            out=out,
            name=name,
            resume=resume,
            cpu=cpu,
            cache_dir=cache_dir,
            progress=out_,
        )
        if is_main():
            _show(out_, result)


def _recipe_path(given: list[str], data: list[str], out: Path | None, *, resume: bool) -> tuple[Path, str]:
    """The recipe's file, and the name that a new run gets."""
    from catlipctl.recipe import find, names

    tars = [text for text in given if text.endswith((".tar", ".tar.gz", ".tgz")) and Path(text).exists()]
    if tars or len(given) > 1:
        raise UsageError(
            f"{(tars or given)[0]} stands in the place of the recipe",
            "quote the pattern, so that the shell does not unfold it: --data 'shards/{0000..0099}.tar'",
        )
    if given:
        path = find(given[0])
        return path, path.stem
    if resume:
        from catlipctl.training.run import newest

        settled = (out or newest(DEFAULT_RECIPE)) / "recipe.yaml"
        if settled.exists():
            return settled, DEFAULT_RECIPE
    if data:
        raise UsageError("--data without a recipe", f"name one of the recipes: {', '.join(names())}")
    return find(DEFAULT_RECIPE), DEFAULT_RECIPE


def _show_launch(out: Output, gpus: int | None, processes: int | None) -> None:
    """The line for a node that has the devices; this machine need not have them."""
    from catlipctl.training.launch import Devices, LaunchCommand, command_line, world_size

    arguments = [argument for argument in sys.argv[1:] if argument != "--print-launch"]
    line = command_line(arguments, Devices(world_size(gpus, processes), cpu=not gpus))
    out.result(LaunchCommand(command=line), line)


def _show(out: Output, result: "PretrainResult") -> None:
    """The run in a few lines, and its loss as RUN/loss.png."""
    from catlipctl import reports
    from catlipctl.training.report import read_metrics

    run = Path(result.run)
    written = plots.save(
        lambda: reports.loss(read_metrics(run / "metrics.jsonl"), str(run)), run / "loss", out
    )
    about = {
        "run": result.run,
        "checkpoint": result.checkpoint,
        "steps": f"{result.steps:,} ({result.samples:,} images in {result.seconds:,.1f} s, "
        f"{result.images_per_second:,.0f} images/s)",
        "loss": f"{result.first_loss:.4f} at first, {result.final_loss:.4f} at last",
        "vocabulary": None if result.vocabulary_size is None else f"{result.vocabulary_size:,} classes",
        "passed over": ", ".join(f"{kind}: {count:,}" for kind, count in result.faults.items()),
        "images without a label": _share(result.unlabelled_share),
        "unreadable, replaced": f"{result.replaced:,} times" if result.replaced else None,
        "plot": written[0] if written else None,
    }
    out.result(result, facts(about))


def _share(share: float | None) -> str | None:
    return f"{share:.1%} of those seen" if share else None
