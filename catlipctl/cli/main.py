"""The command `catlipctl`: what commands there are, and how the process ends."""

import os
import sys
from typing import Annotated, Any

import typer

import catlipctl
from catlipctl.cli import (
    bench,
    checkpoint,
    compare,
    data,
    demo,
    doctor,
    evaluation,
    frontier,
    labels,
    predict,
    pretrain,
    recipe,
    report,
    runs,
    sweep,
    transfer_init,
)
from catlipctl.cli.grammar import Command
from catlipctl.cli.output import Output
from catlipctl.cli.vocab import build, change, overlap, show
from catlipctl.errors import Stopped, UsageError
from catlipctl.signals import Signals

app = typer.Typer(
    name="catlipctl",
    help=catlipctl.__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=Command)(demo.demo)
app.command(cls=Command)(doctor.doctor)
app.command(cls=Command)(labels.labels)
app.command(cls=Command)(pretrain.pretrain)
app.command("transfer-init", cls=Command)(transfer_init.transfer_init)
app.command(cls=Command)(predict.predict)
app.command(cls=Command)(report.report)
app.command(cls=Command)(compare.compare)
app.command(cls=Command)(sweep.sweep)
app.command(cls=Command)(frontier.frontier)
app.add_typer(bench.group, name="bench")
app.add_typer(runs.group, name="runs")
app.add_typer(evaluation.group, name="eval")


def _group(name: str, help: str) -> typer.Typer:
    group = typer.Typer(help=help, no_args_is_help=True)
    app.add_typer(group, name=name)
    return group


_vocab = _group("vocab", "Vocabularies: count one, look at it, change it, compare it with a label set.")
_vocab.command("build", cls=Command)(build.build)
_vocab.command("show", cls=Command)(show.show)
_vocab.command("merge", cls=Command)(change.merge)
_vocab.command("prune", cls=Command)(change.prune)
_vocab.command("import", cls=Command)(change.import_)
_vocab.command("export", cls=Command)(change.export)
_vocab.command("overlap", cls=Command)(overlap.overlap)

_data = _group("data", "Sources of image-text pairs.")
_data.command("inspect", cls=Command)(data.inspect)
_data.command("index", cls=Command)(data.index)

_recipe = _group("recipe", "Recipes: list them, show one, copy one to change it, look up a key.")
_recipe.command("list", cls=Command)(recipe.list_)
_recipe.command("show", cls=Command)(recipe.show)
_recipe.command("copy", cls=Command)(recipe.copy)
_recipe.command("keys", cls=Command)(recipe.keys)

_checkpoint = _group(
    "checkpoint",
    "Checkpoints: what is in one, whether it is whole; one from others, or for timm, the Hub or ONNX.",
)
_checkpoint.command("inspect", cls=Command)(checkpoint.inspect)
_checkpoint.command("verify", cls=Command)(checkpoint.verify)
_checkpoint.command("gather", cls=Command)(checkpoint.gather)
_checkpoint.command("import", cls=Command)(checkpoint.import_)
_checkpoint.command("export", cls=Command)(checkpoint.export)


def _version(value: bool) -> None:
    if value:
        print(f"catlipctl {catlipctl.__version__}")
        raise typer.Exit()


@app.callback()
def _callback(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; every way out has its documented exit code."""
    # Read when torch is loaded. OpenMP's threads spin at each barrier by default: where loader workers or
    # other programs share the cores, that made a training step six times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        Signals().answer()
        code = app(prog_name="catlipctl", standalone_mode=False)
    except Stopped as stopped:
        _output().fail(stopped)
        code = stopped.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        # What the parser raises has no public class in every typer that we support, but these attributes.
        if not hasattr(error, "format_message"):
            raise
        code = _refused(error)
    sys.exit(code if isinstance(code, int) else 0)


def _refused(error: Any) -> int:
    """Say what the parser could not read, as every error is said; its exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
    else:
        # What pydantic puts before each of its own.
        message = " ".join(error.format_message().replace("Value error, ", "").split()).removesuffix(".")
        hint = f"{' '.join(['catlipctl', *_command_words()])} --help shows what it takes"
        _output().fail(UsageError(message[:1].lower() + message[1:], hint))
    return int(error.exit_code)


def _output() -> Output:
    """Where a command speaks that has not begun."""
    return Output(" ".join(_command_words()) or "catlipctl", json="--json" in sys.argv[1:])


def _command_words() -> list[str]:
    """The words typed that name the command: `vocab show`. The parser's errors do not all know it."""
    words: list[str] = []
    command: Any = typer.main.get_command(app)
    for word in sys.argv[1:]:
        default = getattr(command, "default", None)
        if default and word.startswith("-"):
            return [*words, default]
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        words.append(word)
    return words


if __name__ == "__main__":
    main()
