"""`catlipctl eval tag`: thresholds for the labels of a pre-training checkpoint, fitted and measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli.evaluation.accuracies import with_interval
from catlipctl.cli.options import CacheDir, CaptionKey, Checkpoint, ImageKey, Json, NoCache, TagList
from catlipctl.cli.output import command
from catlipctl.cli.plots import DEFAULT, Plots, save
from catlipctl.cli.tables import facts, table
from catlipctl.files import refuse_taken

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.transfer.tagging import TaggerResult

SHOWN = 5


def tag(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="SOURCE",
            autocompletion=completion.sources,
            help="Captioned images that the run was not trained on.",
            show_default=False,
        ),
    ],
    checkpoint: Checkpoint = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Captioned images to measure on. Default: each fifth of --data, by thresholds of the rest.",
            show_default=False,
        ),
    ] = None,
    tags: TagList = None,
    min_images: Annotated[
        int, typer.Option(min=1, help="A class with fewer has the threshold for all, and is not measured.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Decides the fifths and the bootstrap.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The checkpoint to write, with result.json; it may not exist. Default: RUN/eval/tag-DATA-N.",
            show_default=False,
        ),
    ] = None,
    caption_key: CaptionKey = None,
    image_key: ImageKey = None,
    cache_dir: CacheDir = None,
    no_cache: NoCache = False,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Fit a threshold to each label of a pre-training checkpoint, and measure the tags."""
    with command("eval tag", json=json) as out:
        if out_dir is not None:
            refuse_taken(out_dir)
        from catlipctl import checkpoints, files
        from catlipctl import data as sources
        from catlipctl.data.sources.locate import slug
        from catlipctl.labels import targets
        from catlipctl.transfer import tagging

        wanted = None if tags is None else targets.listed(tags)
        named = inputs.checkpoint(checkpoint, None, out)

        def opened(spec: str) -> sources.Source:
            return sources.open_source(
                spec,
                image_key=image_key,
                caption_keys=caption_key or (),
                cache_dir=cache_dir,
                progress=out,
            )

        images, others = opened(data), None if test is None else opened(test)
        out.uses("data", data)
        loaded = checkpoints.load(named)
        folder = out_dir or files.unused(loaded.run / "eval" / f"tag-{slug(data)}", numbered=True)
        result = tagging.fit_tagger(
            loaded,
            images,
            others,
            tags=wanted,
            min_images=min_images,
            seed=seed,
            out=folder,
            cache=inputs.feature_cache(cache_dir, no_cache),
            workers=workers,
            progress=out,
        )
        from catlipctl import reports

        drawn = save({folder / "thresholds": lambda: reports.tagger(result)}, plots, out)
        out.result(
            result,
            _table(result),
            _classes(result),
            f"wrote {folder}, with result.json" + "".join(f", {path.name}" for path in drawn),
            f"try it: catlipctl predict IMAGE... --checkpoint {folder}",
        )


def _table(result: "TaggerResult") -> "Table":
    shown = table("thresholds", "macro F1", "micro F1", "tags an image", numbers=["tags an image"])
    ways = {
        "one a class": result.each,
        "one for all, best macro F1": result.one,
        "one for all, best micro F1": result.one_for_micro,
    }
    for name, way in ways.items():
        macro = with_interval(way.macro_f1, way.macro_f1_interval)
        micro = with_interval(way.micro_f1, way.micro_f1_interval)
        shown.add_row(name, macro, micro, f"{way.tags_per_image:.1f}")
    shown.add_row("every tag told", f"{result.all_told:.1%}", "", f"{result.measured_classes}")
    return shown


def _classes(result: "TaggerResult") -> "Table":
    low, high = result.gain_interval
    ranked = sorted(result.per_class, key=lambda row: -row.f1)
    verdict = "" if low > 0 or high < 0 else ": no verdict"
    return facts(
        {
            "gain of one a class": f"{100 * result.gain:+.1f} points of macro F1 ({100 * low:.1f} to "
            f"{100 * high:.1f}, 95 %){verdict}",
            "macro mAP": f"{result.macro_map:.1%}",
            "measured classes": f"{result.measured_classes:,} of {result.classes:,}, each in "
            f"{result.min_images} images or more; {result.labels_per_image:.1f} of them an image",
            "images": f"{result.train_images:,} fitted, {result.test_images:,} measured ({result.split})",
            "unreadable": f"{result.unreadable:,}" if result.unreadable else None,
            "told best": ", ".join(f"{row.label} {row.f1:.0%}" for row in ranked[:SHOWN]),
            "told worst": ", ".join(f"{row.label} {row.f1:.0%}" for row in ranked[-SHOWN:]),
            "other classes": f"{result.classes - result.own_thresholds:,} with the threshold "
            f"{result.shared_threshold:.3g}",
        }
    )
