"""What a command is about to write."""

from pathlib import Path

from catlipctl.errors import UsageError


def refuse_taken(*paths: Path) -> None:
    """Raise UsageError if one of the files to write exists."""
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} exists and is never overwritten", "choose another name with --out")
