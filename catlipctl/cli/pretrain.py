"""catlipctl pretrain: train an image tower on image-text pairs by a recipe."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion, inputs, plots
from catlipctl.cli.options import CacheDir, CaptionKey, Gpus, ImageKey, Json, Processes, Sources, Strict
from catlipctl.cli.output import Output, command, is_main, only_main_speaks
from catlipctl.cli.tables import facts, table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.pretraining import PretrainRecipe, PretrainResult
    from catlipctl.pretraining.dry_run import DryRun
    from catlipctl.recipe import Loaded

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
        bool, typer.Option("--dry-run", help="Show every value, its origin, and how large the run is.")
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
            _show_dry_run(out_, loaded, gpus, processes)
            return
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
    from catlipctl.errors import UsageError
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


def _show_dry_run(
    out: Output, loaded: "Loaded[PretrainRecipe]", gpus: int | None, processes: int | None
) -> None:
    from catlipctl.pretraining.dry_run import dry_run
    from catlipctl.training.launch import world_size

    result = dry_run(loaded, world_size(gpus, processes))
    for warning in result.warnings:
        out.warn(warning)
    out.result(result, _values_table(result), *_sizes_table(result), _cost_table(result))


def _values_table(result: "DryRun") -> "Table":
    values = table("key", "value", "from")
    for row in result.values:
        values.add_row(row.key, "null" if row.value is None else str(row.value), row.origin)
    return values


def _cost_table(result: "DryRun") -> "Table":
    where = "one process" if result.processes == 1 else f"each of {result.processes} processes"
    each = f"{result.process_batch:,} images a step in {where}"
    if result.accumulation > 1:
        each += f", in {result.accumulation} pieces of {result.micro_batch:,}"
    if result.vocabulary_size is None or result.checkpoint_bytes is None:
        size = f"{result.parameters:,} + {result.parameters_per_class:,} a class, once they are counted"
        weight = "16 bytes a parameter" if _averaged(result) else "12 bytes a parameter"
    else:
        size = f"{result.parameters:,} with {result.vocabulary_size:,} outputs of the head"
        weight = f"{result.checkpoint_bytes / 2**20:,.1f} MiB"
    return facts(
        {
            "length": _length(result),
            "batch": each,
            "parameters": size,
            "checkpoint": weight,
            "operations": None
            if result.flops is None
            else f"{result.flops:.3g} (the tower, forward and backward)",
            "GPU-hours": None
            if result.gpu_hours is None
            else f"{result.gpu_hours:,.2g} of an H100 at {result.utilisation:.0%} of its "
            f"{result.peak_flops / 1e12:,.0f} TFLOP/s; estimated",
        }
    )


def _length(result: "DryRun") -> str:
    if result.steps is None or result.images is None:
        return "as many steps as the epochs of the data make"
    length = f"{result.steps:,} steps, {result.images:,} images"
    if len(result.sizes) > 1:
        length += f", a mean batch of {result.batch_over_base:.2f} times the one at the model's own size"
    return length


def _sizes_table(result: "DryRun") -> "list[Table]":
    if len(result.sizes) < 2:
        return []
    numbers = ["steps", "images a step", "GFLOPs an image, forward"]
    sizes = table("pixels a side", *numbers, numbers=numbers)
    for row in result.sizes:
        sizes.add_row(str(row.size), f"{row.steps:,}", f"{row.images:,}", f"{row.flops_per_image / 1e9:,.2f}")
    return [sizes]


def _averaged(result: "DryRun") -> bool:
    return any(row.key == "ema.momentum" and row.value is not None for row in result.values)


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
