"""The revision against git itself; clocks against what a core can have."""

import subprocess
from pathlib import Path

import pytest

import catlipctl
from catlipctl.bench.provenance import clocks, revision


def test_the_revision_is_gits() -> None:
    root = Path(catlipctl.__file__).parents[1]
    asked = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        pytest.skip("this is no git checkout")
    found = revision()
    assert found is not None
    assert asked.stdout.startswith(found.removesuffix("+"))
    assert len(found.removesuffix("+")) >= 12


def test_clocks_are_megahertz() -> None:
    assert all(100 < clock < 10_000 for clock in clocks().values())
