"""Options that the commands of `catlipctl eval` share."""

from typing import Annotated

import typer

from catlipctl.cli import completion

_DATA = typer.Option(
    "--data",
    metavar="SOURCE",
    autocompletion=completion.sources,
    help="Labelled images: class folders, tars, Parquet, coco:ANNOTATIONS.json; or emoji:transfer, the "
    "embedded ones. A folder's train/ and test/ (or val/) are used as such.",
    show_default=False,
)
Data = Annotated[str, _DATA]
DataOrRecipes = Annotated[str | None, _DATA]
"""A recipe may name it too."""
Test = Annotated[
    str | None,
    typer.Option(
        "--test",
        metavar="SOURCE",
        help="Test images. Default: the test/ or val/ beside the folder train/, whether --data names "
        "train/ or what it is in; else 20 % of --data, stratified by seed.",
        show_default=False,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="TARGET",
        autocompletion=completion.targets,
        help="The label set whose labels the class names are. Default: names looked up in WordNet; for "
        "emoji:transfer, emoji.",
        show_default=False,
    ),
]
RandomBackbone = Annotated[
    bool, typer.Option("--random-backbone", help="The control: the same tower, untrained.")
]
SetKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the run, such as length.epochs. Repeats.",
        show_default=False,
    ),
]
