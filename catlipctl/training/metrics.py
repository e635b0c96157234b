"""`metrics.jsonl`: one JSON object a logged step, appended; a line that a killed process tore is cut off."""

import json
from pathlib import Path
from typing import Any

from catlipctl.files import write_text


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics, without a torn last line; an absent file has none."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def truncate(path: Path, step: int) -> None:
    """Keep the rows up to `step`: those after it will be made again."""
    kept = [row for row in read(path) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


def append(path: Path, row: dict[str, Any]) -> None:
    """Add one row."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
