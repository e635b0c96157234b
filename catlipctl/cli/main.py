"""The command `catlipctl`: what commands there are, and how the process ends."""

import json
import os
import sys
from typing import Annotated

import typer

import catlipctl
from catlipctl.cli import (
    bench,
    checkpoint,
    data,
    demo,
    doctor,
    evaluate,
    labels,
    predict,
    pretrain,
    recipe,
    transfer_init,
    vocab,
)
from catlipctl.cli.output import Output

app = typer.Typer(
    name="catlipctl",
    help=catlipctl.__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(doctor.doctor)
app.command()(labels.labels)
app.command()(pretrain.pretrain)
app.command("transfer-init")(transfer_init.transfer_init)
app.command()(predict.predict)
app.command()(bench.bench)


def _group(name: str, help: str) -> typer.Typer:
    group = typer.Typer(help=help, no_args_is_help=True)
    app.add_typer(group, name=name)
    return group


_vocab = _group("vocab", "Vocabularies: count one, look at it, compare it with a label set.")
_vocab.command("build")(vocab.build)
_vocab.command("show")(vocab.show)
_vocab.command("overlap")(vocab.overlap)

_data = _group("data", "Sources of image-text pairs.")
_data.command("inspect")(data.inspect)

_recipe = _group("recipe", "Recipes: list them, show one, copy one to change it.")
_recipe.command("list")(recipe.list_)
_recipe.command("show")(recipe.show)
_recipe.command("copy")(recipe.copy)

_eval = _group("eval", "Measure what a tower has learned.")
_eval.command("lp")(evaluate.linear_probe)

_checkpoint = _group("checkpoint", "Checkpoints: what is in one, and whether it is whole.")
_checkpoint.command("inspect")(checkpoint.inspect)
_checkpoint.command("verify")(checkpoint.verify)


def _version(value: bool) -> None:
    if value:
        print(f"catlipctl {catlipctl.__version__}")
        raise typer.Exit()


@app.callback()
def _callback(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every way out has its documented exit code."""
    # Read when torch is loaded. OpenMP's threads spin at each barrier by default: where loader workers or
    # other programs share the cores, that made a training step six times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except SystemExit as end:
        # The parser ends by itself at a usage error; whoever asked for JSON gets a document all the same.
        if end.code == 2 and "--json" in sys.argv[1:] and Output.documents == 0:
            error = {"message": "the command line could not be read: see stderr", "hint": "", "exit_code": 2}
            document = {"schema_version": 1, "command": sys.argv[1], "status": "error", "error": error}
            print(json.dumps(document))
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
