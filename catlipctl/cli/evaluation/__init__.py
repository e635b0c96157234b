"""`catlipctl eval`: what a tower has learned, by probes of frozen features, fine-tuning, and tags."""

import typer

from catlipctl.cli.evaluation.fine_tune import fine_tune
from catlipctl.cli.evaluation.linear_probe import linear_probe
from catlipctl.cli.evaluation.probes import all_, attentive, knn, zero_shot
from catlipctl.cli.evaluation.tag import tag
from catlipctl.cli.grammar import Command

group = typer.Typer(help="Measure what a tower has learned.", no_args_is_help=True)
group.command("lp", cls=Command)(linear_probe)
group.command("knn", cls=Command)(knn)
group.command("zero-shot", cls=Command)(zero_shot)
group.command("attentive", cls=Command)(attentive)
group.command("all", cls=Command)(all_)
group.command("ft", cls=Command)(fine_tune)
group.command("tag", cls=Command)(tag)
