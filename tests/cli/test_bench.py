"""catlipctl bench, as one types it."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from accelerate.utils.other import get_free_port
from typer.testing import CliRunner

from catlipctl import bench as benchmarks
from catlipctl import reports
from catlipctl.cli.bench import bench
from catlipctl.errors import MachineError

app = typer.Typer()
app.command()(bench)

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 100, "width": 32, "heads": 1, "layers": 1},
}
OPTIONS = ["--batch-size", "2", "--classes", "50", "--rounds", "3", "--json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real run, in a folder where a result of an earlier one lies."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    (folder / "out").mkdir()
    (folder / "out" / "step-1.json").write_text("earlier")
    options = ["--model", str(folder / "tiny.json"), "--out", str(folder / "out"), *OPTIONS]
    run = CliRunner().invoke(app, options)
    assert run.exit_code == 0, run.output
    (folder / "stdout.json").write_text(run.stdout)
    return folder


@pytest.fixture
def result(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / "stdout.json").read_text())
    assert (document["command"], document["status"]) == ("bench", "ok")
    return document["result"]


def test_rows_hold_what_was_measured(result: dict[str, Any]) -> None:
    assert [row["name"] for row in result["rows"]] == ["CatLIP", "CLIP"]
    for row in result["rows"]:
        steps = [sum(phases.values()) for phases in row["rounds"]]
        assert len(steps) == 4  # 3 were asked for; the two orders take turns
        assert row["step"]["median"] == pytest.approx(statistics.median(steps))
        assert row["images_per_second"] == pytest.approx(2 / statistics.median(steps))
        for phase, spread in row["phases"].items():
            assert spread["median"] == statistics.median(phases[phase] for phases in row["rounds"])
        assert row["peak_memory_bytes"] > 16 * row["parameters"]


def test_ratio_is_taken_within_each_round(result: dict[str, Any]) -> None:
    catlip, clip = ([sum(p.values()) for p in row["rounds"]] for row in result["rows"])
    ratios = [above / below for above, below in zip(clip, catlip, strict=True)]
    assert result["ratio"]["median"] == pytest.approx(statistics.median(ratios))


def test_writes_beside_earlier_results_and_never_over_them(folder: Path, result: dict[str, Any]) -> None:
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "step-1.json",
        "step-2.json",
        "step-2.png",
        "step-2.svg",
    ]
    assert (folder / "out" / "step-1.json").read_text() == "earlier"
    kept = json.loads((folder / "out" / "step-2.json").read_text())
    assert kept.pop("schema_version") == 1
    assert kept == result
    assert [Path(path) for path in result["files"]] == [
        folder / "out" / f"step-2.{kind}" for kind in ("json", "png", "svg")
    ]


def test_table_and_ratio_are_shown(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = benchmarks.StepBenchmark(**result)
    monkeypatch.setattr(benchmarks, "step", lambda *_, **__: kept)
    run = CliRunner().invoke(app, ["--out", str(tmp_path)])
    assert run.exit_code == 0
    table = run.stdout.partition("CLIP step")[0]
    assert max(len(line) for line in table.splitlines()) <= 110
    ratio = result["ratio"]
    line = f"CLIP step / CatLIP step = {ratio['median']:.2f}x ({ratio['low']:.2f} to {ratio['high']:.2f})"
    assert line in run.stdout


def test_plot_and_table_give_one_ratio(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = []

    def draw(*arguments: Any) -> Any:
        drawn.append(arguments)
        raise MachineError("no matplotlib here", "")

    kept = benchmarks.StepBenchmark(**result)
    kept.ratio.median = 9.87  # not what the phases' medians would give
    monkeypatch.setattr(benchmarks, "step", lambda *_, **__: kept)
    monkeypatch.setattr(reports, "step", draw)
    run = CliRunner().invoke(app, ["--out", str(tmp_path), "--json"])
    _, seconds, ratios, _ = drawn[0]
    assert seconds == {row["name"]: row["step"]["median"] for row in result["rows"]}
    assert ratios == {"CLIP": 9.87}
    assert json.loads(run.stdout)["result"]["files"] == [str(tmp_path / "step-1.json")]


def test_more_gpus_than_there_are_is_exit_5_and_says_how_many() -> None:
    there = torch.cuda.device_count()
    run = CliRunner().invoke(app, ["--gpus", str(there + 8), "--json"])
    assert run.exit_code == 5
    error = json.loads(run.stdout)["error"]
    assert error["exit_code"] == 5
    assert f"shows {there}" in error["message"]
    assert "--processes" in error["hint"]


def test_unknown_model_is_exit_2() -> None:
    run = CliRunner().invoke(app, ["--model", "ViT-S-61"])
    assert run.exit_code == 2
    assert "ViT-S-16" in run.stderr


@pytest.mark.slow
def test_two_processes_measure_together(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    code = "import typer; from catlipctl.cli.bench import bench; a = typer.Typer(); a.command()(bench); a()"
    options = ["--processes", "2", "--model", str(tmp_path / "tiny.json"), "--out", str(tmp_path), *OPTIONS]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(get_free_port())}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, *options],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    first, second = (rank.communicate(timeout=400)[0] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert second == ""
    result = json.loads(first)["result"]
    assert result["processes"] == 2
    clip = result["rows"][1]
    assert clip["images_per_second"] == pytest.approx(2 * 2 / clip["step"]["median"])
    assert len(list(tmp_path.glob("step-*.json"))) == 1
