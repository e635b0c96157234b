"""Results say how and when they were made."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from catlipctl.results import Measurement
from catlipctl.vocabulary import Vocabulary

SCRIPT = """\
import sys
from catlipctl.results import Measurement
print(Measurement(protocol='p').model_dump_json())
"""


def test_a_measurement_says_when_it_was_made() -> None:
    made = datetime.fromisoformat(Measurement(protocol="p").date)
    assert made.tzinfo is not None
    assert abs(datetime.now().astimezone() - made) < timedelta(minutes=1)


@pytest.mark.parametrize(("name", "called"), [("catlipctl", "catlipctl"), ("mine.py", "mine.py")])
def test_a_measurement_says_the_command_line(name: str, called: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(SCRIPT)
    words = ["eval", "lp", "--data", "my photos/"]
    done = subprocess.run(
        [sys.executable, str(tmp_path / name), *words], capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert document["command"] == [called, *words]
    # What needs no torch does not load it to tell of the machine.
    assert "threads" not in document["machine"]
    assert document["machine"]["cores"] >= 1


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """`python -m catlipctl`, as a launcher starts its processes; the vocabulary makes a result quickly."""
    Vocabulary(("n02084071",), (3,), "corenet", "1", "made", 3, 0, "occurrences", 0).save(tmp_path / "v.json")
    words = ["vocab", "overlap", "--target", "cifar10", str(tmp_path / "v.json"), "--plots", "none", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "catlipctl", *words], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout)["result"]["command"] == ["catlipctl", *words]
