"""How help shows a command.

A SOURCE, a TARGET and a CHECKPOINT are options in every command: `--data`, `--target`, `--checkpoint`. Words
without an option are what only this command has: a recipe, vocabularies, images, captions.
"""

import re
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup

WORDS = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "path": "PATH", "file": "PATH"}


class Command(TyperCommand):
    """A command whose help shows words (`TEXT`, `VOCABULARY...`), not types of Python (`<list[str]>`)."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] [RECIPE]`: what may be left out stands in brackets."""
        params: list[Any] = self.get_params(ctx)
        shown = [param for param in params if _is_argument(param) and not param.hidden]
        return ["[OPTIONS]", *(_word(param) if param.required else f"[{_word(param)}]" for param in shown)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of arguments and options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if _is_argument(param):
                sections["Arguments"].append((_word(param), record[1]))
            else:
                sections["Options"].append((re.sub(r"<(.+)>$", _type, record[0]), record[1]))
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class DefaultGroup(TyperGroup):
    """Commands of which one is meant where none is named: `default`.

    takes_words: a first word that is no command is the default's own.
    """

    default: ClassVar[str]
    takes_words: ClassVar[bool] = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """With the default command put first where none is."""
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        word = self.takes_words and bool(args) and args[0] not in self.commands
        if not asks_for_help and (not args or args[0].startswith("-") or word):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def _is_argument(param: Any) -> bool:
    return param.param_type_name == "argument"


def _word(param: Any) -> str:
    return param.metavar or param.name.upper()


def _type(match: re.Match[str]) -> str:
    """`<list[Path]>` is PATH, `<int range>` INTEGER, `<a|b>` a|b."""
    inner = re.sub(r"^list\[(.+)\]$", r"\1", match[1]).removesuffix(" range")
    return WORDS.get(inner.lower(), inner)
