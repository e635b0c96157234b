"""What every probe of a frozen tower starts from, opened from a command's arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from catlipctl.cli import inputs
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import Mapping
from catlipctl.cli.output import Output, only_main_speaks

if TYPE_CHECKING:
    from catlipctl import checkpoints
    from catlipctl.data import Source


class Opened(NamedTuple):
    """A command's arguments, looked at and opened: the checkpoint with both sources, what all probes take,
    and the folder that a probe of some name writes.
    """

    checkpoint: "checkpoints.Checkpoint"
    train: "Source"
    test: "Source | None"
    options: dict[str, Any]
    folder: Callable[[str], Path]


def opened_for(
    out: Output,
    *,
    data: str,
    checkpoint: str | None,
    word: str | None,
    test: str | None,
    target: str | None,
    mapping: Mapping = "heads",
    seed: int,
    workers: int,
    out_dir: Path | None,
    gpus: int | None,
    processes: int | None,
    label_key: str | None,
    label_base: int | None,
    multi_label: bool | None,
    image_key: str | None,
    cache_dir: Path | None,
    no_cache: bool,
    random_backbone: bool = False,
) -> Opened:
    """Open what a probe's command was given.

    The checkpoint's name stands on the first line; it is loaded last, for it may be a download.
    """
    from catlipctl import checkpoints, files
    from catlipctl.data import emoji
    from catlipctl.data.sources.locate import slug
    from catlipctl.transfer.labelled import open_splits

    if target is None and data.startswith(emoji.TRANSFER):
        target = "emoji"
    labelset = None if target is None else label_set(target, out, multi_label=multi_label, mapping=mapping)
    if out_dir is not None:
        files.refuse_taken(out_dir)
    named = inputs.checkpoint(checkpoint, word, out)
    only_main_speaks()
    cpu = inputs.only_here(gpus, processes, out, [] if checkpoint or word else ["--checkpoint", named])
    train_source, test_source = open_splits(
        data, test, label_key=label_key, image_key=image_key, cache_dir=cache_dir, progress=out
    )
    out.uses("data", data)
    loaded = checkpoints.load(named, weights=not random_backbone)
    control = "-untrained" if random_backbone else ""

    def folder(name: str) -> Path:
        return out_dir or files.unused(loaded.run / "eval" / f"{name}-{slug(data)}{control}", numbered=True)

    options = {
        "target": labelset,
        "multi_label": multi_label,
        "label_base": label_base,
        "random_backbone": random_backbone,
        "seed": seed,
        "cache": inputs.feature_cache(cache_dir, no_cache),
        "cpu": cpu,
        "workers": workers,
        "progress": out,
    }
    return Opened(loaded, train_source, test_source, options, folder)
