"""`catlipctl data inspect`: pairs, faults, unreadable images, captions without labels, shards per worker."""

from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import inputs
from catlipctl.cli.options import CacheDir, CaptionKey, ImageKey, Json, LabelKey, Sources, SourceWords, Strict
from catlipctl.cli.output import command
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.data.inspect import Inspection, Spread


def inspect(
    data: Sources = None,
    words: SourceWords = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many images to decode.")] = 2000,
    all_images: Annotated[bool, typer.Option("--all", help="Decode every image.")] = False,
    image_key: ImageKey = None,
    caption_key: CaptionKey = None,
    label_key: LabelKey = None,
    strict: Strict = False,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """What a source holds: pairs, faults, image sizes, captions that give no label."""
    with command("data inspect", json=json) as out:
        from catlipctl import labels
        from catlipctl.data import open_source
        from catlipctl.data.inspect import inspect as inspect_source

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
        inspection = inspect_source(
            opened, labels.extractor(), sample=None if all_images else sample, progress=out
        )
        out.result(inspection, _table(inspection))


def _table(found: "Inspection") -> "Table":
    shown = table("what", "how many", "", numbers=["how many"], title=found.source)

    def share(part: int, whole: int) -> str:
        return f"{100 * part / max(whole, 1):.1f} %"

    shown.add_row("samples", f"{found.samples:,}", "")
    spread = f"{found.shards_per_worker:.3g} for each of {found.workers} workers" if found.shards else ""
    shown.add_row("shards", f"{found.shards:,}", spread or "each image is a file of its own")
    for kind, count in found.faults.items():
        shown.add_row(kind, f"{count:,}", "passed over when opened")
    shown.add_row(
        "images looked at", f"{found.images.looked_at:,}", share(found.images.looked_at, found.samples)
    )
    examples = ", ".join(found.images.unreadable_examples[:3])
    of = share(found.images.unreadable, found.images.looked_at)
    shown.add_row("images unreadable", f"{found.images.unreadable:,}", f"{of} {examples}".strip())
    for name, values in (
        ("width", found.images.width),
        ("height", found.images.height),
        ("bytes", found.images.bytes),
    ):
        shown.add_row(f"image {name}", *_spread(values))
    shown.add_row("captions", f"{found.captions.count:,}", "")
    shown.add_row("caption characters", *_spread(found.captions.characters))
    missing = found.captions.samples_without
    shown.add_row("samples without caption", f"{missing:,}", share(missing, found.samples))
    unlabelled = found.captions.samples_without_label
    if unlabelled is not None and found.captions.count:
        of = f"{share(unlabelled, found.samples)} by {found.captions.extractor}"
        shown.add_row("samples without label", f"{unlabelled:,}", of)
    if found.classes:
        shown.add_row("classes", f"{len(found.classes):,}", ", ".join(list(found.classes)[:8]))
    return shown


def _spread(values: "Spread | None") -> tuple[str, str]:
    if values is None:
        return "-", ""
    return f"{values.median:,.0f}", f"median of {values.minimum:,.0f} to {values.maximum:,.0f}"
