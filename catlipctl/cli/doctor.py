"""catlipctl doctor: is this machine ready?"""

from typing import TYPE_CHECKING

import typer

from catlipctl.cli.options import CacheDir, Json
from catlipctl.cli.output import command
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.doctor import Diagnosis

COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def doctor(cache_dir: CacheDir = None, json: Json = False) -> None:
    """Is this machine ready, and what to do if not.

    Looks at versions, devices, memory, disk, caches and data.

    Changes nothing. Exit 5 if a check has failed; warnings don't count.
    """
    with command("doctor", json=json) as out:
        from catlipctl.doctor import examine

        diagnosis = examine(cache_dir)
        out.result(diagnosis, _table(diagnosis), _summary(diagnosis))
        if diagnosis.failed:
            raise typer.Exit(5)


def _table(diagnosis: "Diagnosis") -> "Table":
    from rich.text import Text

    shown = table("", "check", "found")
    for check in diagnosis.checks:
        shown.add_row(Text(check.status, COLOURS[check.status]), check.name, check.found)
        if check.mend:
            shown.add_row("", "", f"mend: {check.mend}")
    return shown


def _summary(diagnosis: "Diagnosis") -> str:
    failed = len(diagnosis.failed)
    warned = sum(check.status == "warning" for check in diagnosis.checks)
    warnings = f"{warned} warning{'s' * (warned != 1)}"
    if failed:
        return f"\n{failed} failed, {warnings}: not ready."
    return f"\nReady{f', with {warnings}' if warned else ''}."
