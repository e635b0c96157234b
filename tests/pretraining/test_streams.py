"""A run whose pairs come as a stream: that from a disk, resumed, ended by a server that is gone."""

import json
import os
import subprocess
import sys
import tarfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from catlipctl.data.sources.streams import cache
from catlipctl.errors import DataError
from catlipctl.pretraining import pretrain
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.report import read_metrics

PAUSES = (0.05, 0.1, 0.2)


@pytest.fixture
def shards(pairs: Path, tmp_path: Path) -> Path:
    """The sixty pairs in six tars."""
    folder = tmp_path / "shards"
    folder.mkdir()
    with tarfile.open(pairs) as whole:
        for number in range(6):
            with tarfile.open(folder / f"{number}.tar", "w") as tar:
                for member in whole.getmembers()[20 * number : 20 * (number + 1)]:
                    tar.addfile(member, whole.extractfile(member))
    return folder


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


def test_a_streamed_run_is_the_run_from_a_disk_and_goes_on(
    document: dict[str, Any],
    shards: Path,
    serve: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "PAUSES", PAUSES)
    monkeypatch.setattr(cache, "PIECE", 3000)
    url = serve(shards, drops=10, delays=7, numbers=count(1))

    def recipe(source: str, **data: Any) -> PretrainRecipe:
        changed = {"sources": [source], "window": 2, **data}
        return PretrainRecipe.model_validate({**document, "data": changed})

    remote = f"{url}/{{0..5}}.tar"
    pretrain(recipe(str(shards)), out=tmp_path / "disk", cache_dir=tmp_path / "a")
    pretrain(recipe(remote), out=tmp_path / "stream", cache_dir=tmp_path / "b")
    assert losses(tmp_path / "stream") == losses(tmp_path / "disk")
    # Half of it, then the rest from an address elsewhere, with a worker and a smaller cache.
    half = {**document, "length": {"steps": 4}, "data": {"sources": [remote], "window": 2}}
    half["schedule"] = {"warmup_steps": 2, "min_lr": document["optimiser"]["lr"]}  # the same at any length
    whole = {**half, "length": {"steps": 8}}
    elsewhere = {"sources": [remote.replace(url, serve(shards))], "window": 2, "workers": 1}
    whole["data"] = {**elsewhere, "stream_cache_gib": 0.0002}
    pretrain(PretrainRecipe.model_validate(half), out=tmp_path / "parts", cache_dir=tmp_path / "b")
    resumed = PretrainRecipe.model_validate(whole)
    fewer = {**whole, "data": {**whole["data"], "sources": [remote.replace("..5", "..4")]}}
    other = PretrainRecipe.model_validate(fewer)
    with pytest.raises(DataError, match="the data is not what this run was trained on"):
        pretrain(other, out=tmp_path / "parts", cache_dir=tmp_path / "c", resume=True, allow_changes=True)
    pretrain(resumed, out=tmp_path / "parts", cache_dir=tmp_path / "c", resume=True, allow_changes=True)
    pretrain(resumed, out=tmp_path / "once", cache_dir=tmp_path / "c")
    assert losses(tmp_path / "parts") == losses(tmp_path / "once")


RUN = """
import sys
from catlipctl.data.sources.streams import cache
cache.PAUSES = (0.05, 0.1, 0.2)
from catlipctl.cli.main import main
sys.exit(main())
"""


def test_a_server_that_is_gone_ends_the_run_with_exit_3(
    document: dict[str, Any], shards: Path, serve: Any, tmp_path: Path
) -> None:
    document["data"] = {"sources": [f"{(url := serve(shards))}/{{0..5}}.tar"], "window": 1, "workers": 1}
    # More than a window, and no room for all of it.
    document["length"] = {"steps": 4000}
    document["data"]["stream_cache_gib"] = 3 * max(map(os.path.getsize, shards.iterdir())) / 2**30
    (tmp_path / "recipe.yaml").write_text(json.dumps(document))
    command = ["pretrain", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--processes", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *command, "--cache-dir", str(tmp_path / "cache"), "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or not read_metrics(metrics):
        time.sleep(0.02)
        assert process.poll() is None
    serve.stop(url)
    gone = time.monotonic()
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 3
    assert time.monotonic() - gone < 60
    message = json.loads(out)["error"]["message"]
    assert f"{url}/" in message
    assert ".tar cannot be read" in message
