"""The keys of recipes as they are described: against pydantic, the page in docs, and a class of our own."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from catlipctl.cli import recipe as cli
from catlipctl.errors import UsageError
from catlipctl.recipe.keys import keys
from catlipctl.recipe.schema import Section, paths
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.settings.pretraining import PretrainRecipe

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"
RECIPES: list[type[BaseModel]] = [PretrainRecipe, FinetuneRecipe]


class Inner(Section):
    """A section."""

    rate: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """How fast. [Table 1]"""
    kind: Literal["a", "b"] = "a"


class Outer(Section):
    name: str
    inner: Inner = Inner(rate=0.25)
    maybe: Inner | None = None
    """Perhaps."""


def test_types_defaults_meanings_and_sources_are_the_schemas() -> None:
    (rows,) = keys({"any": Outer}).recipes.values()
    assert [tuple(row.model_dump().values()) for row in rows] == [
        ("name", "text", "required", "", ""),
        ("inner", "section", "", "A section.", ""),
        # The section's own value is not Table 1's.
        ("inner.rate", "number, above 0, at most 1, or null", "0.25", "How fast.", ""),
        ("inner.kind", "`a` or `b`", "a", "", ""),
        ("maybe", "section, or null", "null", "Perhaps.", ""),
        ("maybe.rate", "number, above 0, at most 1, or null", "0.5", "How fast.", "Table 1"),
        ("maybe.kind", "`a` or `b`", "a", "", ""),
    ]


def test_a_prefix_selects_and_an_unknown_one_gets_the_nearest() -> None:
    found = keys({"pretrain": PretrainRecipe, "ft": FinetuneRecipe}, "data.w")
    assert {name: [row.key for row in rows] for name, rows in found.recipes.items()} == {
        "pretrain": ["data.workers", "data.window"]
    }
    with pytest.raises(UsageError) as refused:
        keys({"ft": FinetuneRecipe}, "optimizer")
    assert refused.value.hint == "did you mean optimiser?"


@pytest.mark.parametrize("cls", RECIPES)
def test_every_key_has_a_meaning(cls: type[BaseModel]) -> None:
    (rows,) = keys({"any": cls}).recipes.values()
    assert [row.key for row in rows] == list(paths(cls))
    assert [row.key for row in rows if not row.meaning] == []


def test_the_page_in_docs_is_what_the_command_prints() -> None:
    app = typer.Typer()
    app.command()(cli.keys)
    printed = CliRunner().invoke(app, ["--markdown"])
    assert printed.exit_code == 0, printed.output
    assert printed.stdout == DOCS.read_text(), "catlipctl recipe keys --markdown > docs/recipes.md"
