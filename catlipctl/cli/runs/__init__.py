"""`catlipctl runs`: what runs there are, and how they fare; without a name it lists them."""

import typer

from catlipctl.cli.grammar import Command, DefaultGroup
from catlipctl.cli.runs.list import list_
from catlipctl.cli.runs.replay import replay
from catlipctl.cli.runs.show import show


class _Group(DefaultGroup):
    default = "list"
    takes_words = True


group = typer.Typer(cls=_Group, help="Runs: list those under a folder, show their curves, replay a failure.")
group.command("list", cls=Command)(list_)
group.command("show", cls=Command)(show)
group.command("replay", cls=Command)(replay)
