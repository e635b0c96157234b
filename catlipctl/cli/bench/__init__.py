"""`catlipctl bench`: measure this machine. A file a benchmark; without a name it is the training step."""

from typing import Any

import typer
from typer.core import TyperGroup

from catlipctl.cli.bench.labels import labels
from catlipctl.cli.bench.loader import loader
from catlipctl.cli.bench.saves import saves
from catlipctl.cli.bench.step import step
from catlipctl.cli.grammar import Command


class _Group(TyperGroup):
    """Commands of which one is meant where none is named."""

    default = "step"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        if not asks_for_help and (not args or args[0].startswith("-")):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


group = typer.Typer(cls=_Group, help="Measure this machine: without a command the training step.")
group.command(cls=Command)(step)
group.command(cls=Command)(labels)
group.command(cls=Command)(loader)
group.command(cls=Command)(saves)
