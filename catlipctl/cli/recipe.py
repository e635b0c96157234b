"""catlipctl recipe list|show|copy."""

from pathlib import Path
from typing import Annotated

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import Json
from catlipctl.cli.output import command
from catlipctl.cli.tables import facts

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A recipe's name or file.",
        show_default=False,
        autocompletion=completion.recipes,
    ),
]


def list_(json: Json = False) -> None:
    """List the recipes that come with catlipctl."""
    with command("recipe list", json=json) as out:
        from catlipctl.recipe import shelved

        result = shelved()
        out.result(result, facts({entry.name: entry.description for entry in result.recipes}))


def show(name: Name, json: Json = False) -> None:
    """Print a recipe as it is written, header and all."""
    with command("recipe show", json=json) as out:
        from catlipctl.recipe import written

        result = written(name)
        out.result(result, result.text.rstrip("\n"))


def copy(
    name: Name,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="The new file. Default: NAME.yaml here.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Copy a recipe to a file of your own, to change it there."""
    with command("recipe copy", json=json) as out:
        from catlipctl.recipe import copied

        result = copied(name, path)
        out.result(result, f"{result.path}: run it with catlipctl pretrain {result.path}")
