"""`catlipctl bench`: measure this machine. A file a benchmark; without a name it is the training step."""

import typer

from catlipctl.cli.bench.labels import labels
from catlipctl.cli.bench.loader import loader
from catlipctl.cli.bench.loop import loop
from catlipctl.cli.bench.loss import loss
from catlipctl.cli.bench.saves import saves
from catlipctl.cli.bench.step import step
from catlipctl.cli.grammar import Command, DefaultGroup


class _Group(DefaultGroup):
    default = "step"


group = typer.Typer(cls=_Group, help="Measure this machine: without a command the training step.")
group.command(cls=Command)(step)
group.command(cls=Command)(labels)
group.command(cls=Command)(loader)
group.command(cls=Command)(loop)
group.command(cls=Command)(loss)
group.command(cls=Command)(saves)
