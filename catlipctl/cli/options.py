"""Options that several commands share, spelled once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from catlipctl.cli import completion

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")]
FROM_OTHERS = (
    "timm:NAME, hf-hub:ORG/NAME or hf-hub:FOLDER, open_clip:MODEL/TAG or open_clip:MODEL/FILE, "
    "corenet:FILE.pt (what CatLIP released), superclass:FILE.pt."
)
"""What a checkpoint of another origin is named by."""
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="CHECKPOINT",
        help=f"A run, its checkpoints/, one step-*, or what others trained: {FROM_OTHERS} "
        "Default: the newest run under ./runs.",
        show_default=False,
        autocompletion=completion.runs,
    ),
]
OwnCheckpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="CHECKPOINT",
        help="A run, its checkpoints/, or one step-*. Default: the newest run under ./runs.",
        show_default=False,
        autocompletion=completion.runs,
    ),
]
"""One that catlipctl wrote: with a manifest."""
CheckpointWord = Annotated[
    str | None, typer.Argument(metavar="CHECKPOINT", hidden=True, autocompletion=completion.runs)
]
"""The spelling before `--checkpoint`."""
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="SOURCE[=WEIGHT]",
        help="Tar, quoted pattern, folder, Parquet, listing, hf:ORG/NAME or URL. Repeats; a source of weight "
        "2 stands twice.",
        show_default=False,
        autocompletion=completion.sources,
    ),
]
SourceWords = Annotated[
    list[str] | None, typer.Argument(metavar="SOURCE...", hidden=True, autocompletion=completion.sources)
]
"""The spelling before `--data`."""
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        envvar="CATLIPCTL_CACHE_DIR",
        help="Where indexes, counts and features go. Default: the user's cache folder.",
        show_default=False,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Extract features anew, and keep none under --cache-dir."),
]
ImageKey = Annotated[
    str | None,
    typer.Option("--image-key", help="Column or extension that holds the image.", show_default=False),
]
CaptionKey = Annotated[
    list[str] | None,
    typer.Option(
        "--caption-key",
        help="Where captions are: txt, json:caption, or a column. Repeats.",
        show_default=False,
    ),
]
LabelKey = Annotated[
    str | None,
    typer.Option(
        "--label-key",
        help="Where the class label is, or a list of them: cls, json:FIELD, or a column.",
        show_default=False,
    ),
]
TagList = Annotated[
    str | None,
    typer.Option(
        "--tags",
        metavar="TAG,TAG...|TARGET",
        help="Tags of your own in place of the checkpoint's labels, by Transfer Init: names, or a label set.",
        show_default=False,
        autocompletion=completion.targets,
    ),
]
MultiLabel = Annotated[
    bool | None,
    typer.Option(
        "--multi-label/--exclusive",
        help="Whether an image may have several labels. Default: yes for coco and ade20k, and where an image "
        "has several or an empty list of them.",
        show_default=False,
    ),
]
LabelBase = Annotated[
    int | None,
    typer.Option(
        "--label-base",
        min=0,
        max=1,
        help="Numbers as labels are rows of --target: the number of the first row, 0 or 1.",
        show_default=False,
    ),
]
Extractor = Annotated[
    str,
    typer.Option(
        "--extractor",
        help="What makes labels of a caption: corenet, nouns, subword or subword-without-stop-words.",
        autocompletion=completion.extractors,
    ),
]
Mapping = Annotated[
    Literal["heads", "paper"],
    typer.Option(
        "--mapping",
        help="How labels meet the vocabulary. heads: by the nouns of their names. paper: CatLIP 4.2 to the "
        "letter; a name with a word that is no noun is random.",
    ),
]
Rows = Annotated[
    Literal["plain", "calibrated"],
    typer.Option(
        "--rows",
        help="Transfer Init's rows for classes that exclude each other: the paper's copies; or smoothed over "
        "WordNet and of equal length, which is better where they are then centred on images.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first damaged shard instead of using what is whole.")
]
Gpus = Annotated[
    int | None,
    typer.Option("--gpus", min=0, help="GPUs of this machine. Default: 1.", show_default=False),
]
Processes = Annotated[
    int | None,
    typer.Option("--processes", min=1, help="Processes on CPUs. Default: 1.", show_default=False),
]
AllowRecipeChange = Annotated[
    bool,
    typer.Option(
        "--allow-recipe-change",
        help="With --resume: go on under a changed recipe, such as a longer length. Model and classes stay.",
    ),
]
VocabularyArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="VOCABULARY",
        help="A vocabulary.json, a run or a checkpoint. Default: the newest run's under ./runs.",
        show_default=False,
        autocompletion=completion.vocabularies,
    ),
]
