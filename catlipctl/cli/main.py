"""The command `catlipctl`: what commands there are, and how the process ends."""

import json
import os
import sys
from typing import Annotated

import typer

import catlipctl
from catlipctl.cli.output import Output


app = typer.Typer(
    name="catlipctl",
    help=catlipctl.__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
vocab_app = typer.Typer(help="Vocabularies: count, look at, compare with label sets.", no_args_is_help=True)
data_app = typer.Typer(help="Look at sources of image-text pairs.", no_args_is_help=True)
recipe_app = typer.Typer(help="Recipes: list, show, copy.", no_args_is_help=True)
eval_app = typer.Typer(help="Measure what a tower has learned.", no_args_is_help=True)
checkpoint_app = typer.Typer(help="Checkpoints: what is in one, and is it whole.", no_args_is_help=True)




def _version(value: bool) -> None:
    if value:
        print(f"catlipctl {catlipctl.__version__}")
        raise typer.Exit()


@app.callback()
def _callback(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every way out has its documented exit code."""
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
