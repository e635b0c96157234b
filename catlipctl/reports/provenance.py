"""How what a page shows was made: command lines and dates, machines, versions."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from catlipctl.reports.findings import Findings
from catlipctl.reports.page import Part, Section, Table
from catlipctl.results import command_line, now

UNKNOWN = "not recorded: an earlier version made it"


class Origin(NamedTuple):
    """What made one thing, as far as it is recorded. step: at which a run was started or resumed."""

    name: str
    time: str
    command: str
    machine: str
    versions: str
    step: str = ""
    processes: str = ""


def provenance(findings: Findings) -> Section:
    """The last section of a page."""
    origins = sorted(_origins(findings), key=lambda origin: origin.time)
    rows = []
    for origin in origins:
        command = f"`{origin.command}`" if origin.command else UNKNOWN
        rows.append([origin.name, origin.time or "–", command, origin.step, origin.processes])
    table = Table(["what", "when", "command", "from step", "processes"], rows, "In the order of their dates.")
    this = f"This page was made on {_readable(now())} by `{shlex.join(command_line())}`."
    return Section("How it was made", [this, table, *_used("machine", origins), *_used("versions", origins)])


def _used(what: str, origins: list[Origin]) -> list[Part]:
    """A table of the different machines, or versions, and what each has made."""
    used: dict[str, list[str]] = {}
    for origin in origins:
        if said := getattr(origin, what):
            used.setdefault(said, []).append(origin.name)
    rows = [[said, ", ".join(dict.fromkeys(names))] for said, names in used.items()]
    if len(rows) == 1:
        rows[0][1] = "all"
    return [Table([what, "of"], rows)] if rows else []


def _origins(findings: Findings) -> Iterator[Origin]:
    for run in findings.runs:
        for start in run.starts:
            step, processes = start.get("step", ""), start.get("processes", "")
            origin = _origin(str(run.path), start.get("time"), start)
            yield origin._replace(step=str(step), processes=str(processes))
        if not run.starts:
            yield _origin(str(run.path), None, {})
    for found in findings.results:
        yield _origin(found.name, found.document.get("date"), found.document)


def _origin(name: str, time: Any, document: Mapping[str, Any]) -> Origin:
    command = document.get("command")
    return Origin(
        name=name,
        time=_readable(time) if isinstance(time, str) else "",
        command=shlex.join(map(str, command)) if isinstance(command, list) else "",
        machine=_machine(document.get("machine")),
        versions=_versions(document.get("versions")),
    )


def _readable(time: str) -> str:
    return time.replace("T", " ")


def _machine(machine: Any) -> str:
    if not isinstance(machine, dict):
        return ""
    memory, accelerators = machine.get("memory_bytes"), machine.get("accelerators")
    parts = [
        str(machine.get("platform", "")),
        f"{machine['cores']} cores" if "cores" in machine else "",
        f"{memory / 2**30:.0f} GiB" if isinstance(memory, int) and memory else "",
        ", ".join(map(str, accelerators)) if isinstance(accelerators, list) else "",
    ]
    return ", ".join(filter(None, parts))


def _versions(versions: Any) -> str:
    if not isinstance(versions, dict):
        return ""
    return ", ".join(f"{name} {number}" for name, number in versions.items())
