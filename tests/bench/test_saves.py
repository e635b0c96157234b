"""What the saves benchmark times, and how it counts it."""

import json
import statistics
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catlipctl.bench import saves as benchmark
from catlipctl.cli.main import app


def test_shares_are_of_the_synchronous_save_of_the_round(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ["--model", "test_vit", "--image-size", "160", "--steps", "2", "--rounds", "3"]
    run = CliRunner().invoke(app, ["bench", "saves", *options, "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert {path.name for path in tmp_path.iterdir()} >= {"saves-1.json", "saves-1.png"}
    assert not list(tmp_path.glob(".saves-*")), "the checkpoints are deleted"
    document = json.loads((tmp_path / "saves-1.json").read_text())
    assert document.pop("schema_version") == 1
    result = benchmark.SavesBenchmark.model_validate(document)
    synchronous, asynchronous = result.rows
    assert (synchronous.name, asynchronous.name) == ("synchronous", "asynchronous")
    for row in result.rows:
        assert len(row.rounds) == 3
        for name in ("stall", "lost"):
            shares = [
                found[name] / whole["stall"]
                for found, whole in zip(row.rounds, synchronous.rounds, strict=True)
            ]
            assert getattr(row, f"{name}_share").median == pytest.approx(statistics.median(shares))
        assert row.stall.median == statistics.median(found["stall"] for found in row.rounds)
    assert synchronous.stall_share.median == 1
    # Weights and both moments in float32, and some text.
    assert 12 * result.parameters < result.checkpoint_bytes < 12 * result.parameters + 100_000
    assert result.bars()["asynchronous"]["stall"] == asynchronous.stall.median
