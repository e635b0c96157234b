"""Three runs as they lie, under ./runs."""

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that failed, one that is stopped, and one that has only begun."""
    monkeypatch.chdir(tmp_path)
    for name, code in (("failed", 6), ("stopped", 75)):
        run = Path("runs") / name
        (run / "checkpoints").mkdir(parents=True)
        ended = {
            "exit_code": code,
            "message": f"why {name}",
            "hint": "",
            "rank": 0,
            "time": "",
            "complete": False,
        }
        (run / "exit.json").write_text(json.dumps(ended))
        (run / "starts.jsonl").write_text(json.dumps({"steps": 10}) + "\n")
        rows = [
            {"step": step, "samples": 8 * step, "loss": 9.0 - step, "lr": 0.1, "images_per_second": 1234.0}
            for step in range(1, 5)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("runs/begun/checkpoints").mkdir(parents=True)
