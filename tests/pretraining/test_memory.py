"""Memory that really ends: the kernel refuses it to one process of two while their run is under way."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from catlipctl.training.report import read_metrics


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process can limit another one's memory")
def test_a_process_that_gets_no_memory_ends_all_and_tells_its_peak_and_what_to_change(
    document: dict[str, Any], tmp_path: Path
) -> None:
    """Halfway the images grow from 32 to 512 px: then the second process needs more than it may have."""
    document["model"]["model_args"]["embed_dim"] = 192
    document["sizes"] = {"from": 32, "to": 512, "stages": 2, "batch": "fixed"}
    document["length"] = {"steps": 120}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(document))
    out = tmp_path / "run"
    line = [sys.executable, "-m", "catlipctl.cli.main", "pretrain", str(tmp_path / "tiny.yaml")]
    run = subprocess.Popen(
        [*line, "--processes", "2", "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    while not read_metrics(out / "metrics.jsonl") and run.poll() is None:
        time.sleep(0.01)
    (second,) = (p for p in psutil.Process(run.pid).children() if p.environ().get("RANK") == "1")
    most = second.memory_info().vms + 32 * 2**20
    second.rlimit(psutil.RLIMIT_AS, (most, most))
    _, told = run.communicate(timeout=240)
    assert run.returncode == 7, told
    assert len(read_metrics(out / "metrics.jsonl")) >= 55
    recorded = json.loads((out / "exit.json").read_text())
    assert (recorded["exit_code"], recorded["rank"]) == (7, 1)
    said = re.search(
        r"out of memory with 5 images on cpu \(peak ([0-9.]+) GiB resident\)", recorded["message"]
    )
    assert said is not None
    assert 0.05 < float(said[1]) < most / 2**30
    assert "--set device_batch_size=2" in recorded["hint"]
    assert "--set activation_checkpointing=true" in recorded["hint"]
    assert recorded["message"] in told
    assert recorded["hint"] in told
