"""`catlipctl data`: `inspect`, what is in a source, and `index`, how many samples each of its tars holds."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import CacheDir, CaptionKey, ImageKey, Json, LabelKey, Sources, SourceWords, Strict
from catlipctl.cli.output import command
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.data.feeding import Forecast
    from catlipctl.data.inspect import Captions, Images, Inspection, Part, Spread
    from catlipctl.data.sources.streams import Indexed

LABELS_SHOWN = 12
WIDEST_CAPTION = 72


def inspect(
    data: Sources = None,
    words: SourceWords = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many images to decode.")] = 2000,
    all_images: Annotated[bool, typer.Option("--all", help="Decode every image.")] = False,
    gpus: Annotated[
        int, typer.Option("--gpus", min=1, max=1024, help="Of this machine, that the loader is to feed.")
    ] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=10**5, help="Such machines.")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=1024,
            help="The loader's for each GPU, as data.workers. Default: a core each.",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option("--window", min=1, help="Shards mixed at a time, as data.window.", show_default=False),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", min=8, max=4096, help="Pixels a side of the crops that are timed.")
    ] = 224,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, max=600, help="How long to time the loader; 0: not at all.")
    ] = 2.0,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    label_key: LabelKey = None,
    strict: Strict = False,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """What a source holds: pairs, faults, image sizes, captions that give no label; and how fast it loads.

    The loader is timed for a few seconds as it would train: what it says holds for this machine.
    """
    with command("data inspect", json=json) as out:
        from catlipctl import labels
        from catlipctl.data import open_source
        from catlipctl.data.feeding import forecast
        from catlipctl.data.inspect import inspect as inspect_source
        from catlipctl.results import cores

        opened = open_source(
            inputs.sources(data, words),
            image_key=image_key,
            caption_keys=caption_key or (),
            label_key=label_key,
            need="any",
            strict=strict,
            cache_dir=cache_dir,
            progress=out,
        )
        out.uses("source", opened.name)
        extractor = labels.extractor()
        workers = workers or max(1, cores() // gpus)
        inspection = inspect_source(
            opened,
            extractor,
            partial(labels.names, extractor=extractor.name),
            sample=None if all_images else sample,
            ranks=gpus * nodes,
            workers=workers,
            window=window,
            progress=out,
        )
        if seconds and inspection.images.looked_at > inspection.images.unreadable:
            inspection.forecast = forecast(
                opened,
                size=size,
                gpus=gpus,
                workers=workers,
                window=window,
                seconds=seconds,
                progress=out,
            )
        out.result(inspection, *_tables(inspection))


def index(
    data: Sources = None,
    words: SourceWords = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=1024,
            help="Processes that count. Default: two for each core, 32 at most.",
            show_default=False,
        ),
    ] = None,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Count the samples of each tar of a source, so that it can be read as a stream (data.window).

    A shard's count is kept in the cache folder as soon as it is there: run it again to go on.
    """
    with command("data index", json=json) as out:
        from catlipctl.data.sources.streams import index_source

        asked = inputs.sources(data, words)
        found = index_source(
            asked,
            image_key=image_key,
            caption_keys=caption_key or (),
            workers=workers,
            cache_dir=cache_dir,
            progress=out,
        )
        out.uses("source", " + ".join(asked))
        out.result(found, _counts(found))


def _counts(found: "Indexed") -> "Table":
    numbers = ["shards", "samples", "counted now", "kept", "empty", "a shard", "GB"]
    shown = table("source", *numbers, numbers=numbers, title="samples that can be used")
    for one in found.sources:
        shown.add_row(
            one.source,
            f"{one.shards:,}",
            f"{one.samples:,}",
            f"{one.counted:,}",
            f"{one.kept:,}",
            f"{one.empty:,}",
            f"{one.smallest:,} to {one.largest:,}",
            f"{one.bytes / 1e9:,.3g}",
        )
    return shown


def _tables(found: "Inspection") -> "list[Table]":
    tables = [_summary(found)]
    if found.parts:
        tables.append(_parts(found.parts))
    if found.captions.labels:
        shown = table("label", "key", "captions", "", numbers=["captions"], title="commonest labels")
        for label in found.captions.labels[:LABELS_SHOWN]:
            shown.add_row(
                label.name, label.key, f"{label.captions:,}", _share(label.captions, found.captions.count)
            )
        tables.append(shown)
    if found.captions.examples:
        shown = table("captions", title=f"{len(found.captions.examples)} captions, evenly spread")
        for caption in found.captions.examples:
            shown.add_row(_line(caption))
        tables.append(shown)
    return tables


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"


def _line(text: str) -> str:
    """A caption in one line of a table, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= WIDEST_CAPTION else line[: WIDEST_CAPTION - 1] + "…"


def _parts(parts: "Sequence[Part]") -> "Table":
    numbers = ["samples", "an epoch", "shards", "faults", "unreadable", "captions", "without label"]
    shown = table("source", *numbers, numbers=numbers, title="each source")
    for part in parts:
        unlabelled = part.captions_without_label
        shown.add_row(
            part.source if part.weight == 1 else f"{part.source}={part.weight:g}",
            f"{part.samples:,}",
            f"{part.epoch:,}",
            f"{part.shards:,}",
            f"{part.faults:,}",
            f"{part.images_unreadable:,} of {part.images_looked_at:,}",
            f"{part.captions:,}",
            "-" if unlabelled is None or not part.captions else _share(unlabelled, part.captions),
        )
    return shown


def _summary(found: "Inspection") -> "Table":
    shown = table("what", "how many", "", numbers=["how many"], title=found.source)
    shown.add_row("samples", f"{found.samples:,}", "")
    shown.add_row("shards", f"{found.shards:,}", found.sharing.said)
    if (speed := found.forecast) is not None:
        shown.add_row("images/s of the loader", f"{speed.images_per_second:,.0f}", _speed(speed))
    for kind, count in found.faults.items():
        shown.add_row(kind, f"{count:,}", "passed over when opened")
    _add_images(shown, found.images, found.samples)
    _add_captions(shown, found.captions, found.samples)
    if found.classes:
        shown.add_row("classes", f"{len(found.classes):,}", ", ".join(list(found.classes)[:8]))
    return shown


def _speed(found: "Forecast") -> str:
    """What the loader's speed was timed with, and which steps it feeds."""
    workers = f"{found.timed} worker{'s' * (found.timed != 1)}"
    if found.timed < found.gpus * found.workers:
        workers = f"{workers} for the {found.gpus * found.workers} on {found.cores} cores"
    feeds = f"a step of {found.per_gpu:,.0f} images/s" + f" on each of {found.gpus} GPUs" * (found.gpus > 1)
    return f"at {found.size} px by {workers}, {found.per_worker:,.0f} each; feeds {feeds}"


def _add_images(shown: "Table", images: "Images", samples: int) -> None:
    shown.add_row("images looked at", f"{images.looked_at:,}", _share(images.looked_at, samples))
    examples = ", ".join(images.unreadable_examples[:3])
    of = _share(images.unreadable, images.looked_at)
    shown.add_row("images unreadable", f"{images.unreadable:,}", f"{of} {examples}".strip())
    pairs = ", ".join(f"{again} = {first}" for first, again in images.repeated_examples[:2])
    of = _share(images.repeated, images.looked_at)
    shown.add_row("images repeated", f"{images.repeated:,}", f"{of} {pairs}".strip())
    for name, values in (("width", images.width), ("height", images.height), ("bytes", images.bytes)):
        shown.add_row(f"image {name}", *_spread(values))


def _add_captions(shown: "Table", captions: "Captions", samples: int) -> None:
    shown.add_row("captions", f"{captions.count:,}", "")
    shown.add_row("caption characters", *_spread(captions.characters))
    missing = captions.samples_without
    shown.add_row("samples without caption", f"{missing:,}", _share(missing, samples))
    if not captions.count:
        return
    said = ", ".join(f"{one.count:,} x {_line(one.caption)}" for one in captions.most_repeated[:2])
    of = _share(captions.repeated, captions.count)
    shown.add_row("captions repeated", f"{captions.repeated:,}", f"{of} {said}".strip())
    if captions.without_label is not None and captions.samples_without_label is not None:
        labelled = captions.count - captions.without_label
        of = (
            f"{_share(labelled, captions.count)} by {captions.extractor}; {captions.distinct_labels:,} labels"
        )
        shown.add_row("captions with a label", f"{labelled:,}", of)
        of = _share(captions.samples_without_label, samples)
        shown.add_row("samples without label", f"{captions.samples_without_label:,}", of)


def _spread(values: "Spread | None") -> tuple[str, str]:
    if values is None:
        return "-", ""
    return f"{values.median:,.0f}", f"median of {values.minimum:,.0f} to {values.maximum:,.0f}"
