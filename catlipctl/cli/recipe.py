"""catlipctl recipe list|show|copy|keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catlipctl.cli import completion
from catlipctl.cli.options import Json
from catlipctl.cli.output import command
from catlipctl.cli.tables import facts, table

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.table import Table

    from catlipctl.recipe.keys import Key

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
        out.result(result, f"{result.path}: run it with catlipctl {result.command} {result.path}")


TITLES = {"pretrain": "Pre-training: `catlipctl pretrain`", "ft": "Fine-tuning: `catlipctl eval ft`"}


def keys(
    prefix: Annotated[
        str,
        typer.Argument(metavar="PREFIX", help="How the keys begin, such as optimiser. Default: all of them."),
    ] = "",
    of: Annotated[
        Literal["pretrain", "ft"] | None,
        typer.Option("--of", help="Keys of pretrain, or of eval ft. Default: both.", show_default=False),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print them as the page docs/recipes.md.")
    ] = False,
    json: Json = False,
) -> None:
    """Print the keys that a recipe may have: type, default, meaning and source."""
    with command("recipe keys", json=json) as out:
        from catlipctl import recipe as recipes
        from catlipctl.recipe import keys as described
        from catlipctl.settings.finetuning import FinetuneRecipe
        from catlipctl.settings.pretraining import PretrainRecipe

        classes: dict[str, type[BaseModel]] = {"pretrain": PretrainRecipe, "ft": FinetuneRecipe}
        found = described.keys({name: cls for name, cls in classes.items() if of in (None, name)}, prefix)
        if markdown:
            out.result(found, described.page(found, TITLES, recipes.shelved().recipes).rstrip("\n"))
            return
        out.result(found, *(_keys_table(name, rows) for name, rows in found.recipes.items()))


def _keys_table(name: str, rows: "list[Key]") -> "Table":
    shown = table("key", "type", "default", "meaning", "source", title=TITLES[name].replace("`", ""))
    for row in rows:
        shown.add_row(row.key, row.type.replace("`", ""), row.default, row.meaning, row.source)
    return shown
