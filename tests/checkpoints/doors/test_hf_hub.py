"""Models laid out as on the Hugging Face Hub: in a folder, in the Hub's cache, and where nothing answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from timm.models import save_for_hf

from catlipctl import checkpoints
from catlipctl.errors import CheckpointError, MachineError


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1).eval()


def test_a_folder_in_timm_s_format(model: torch.nn.Module, tmp_path: Path) -> None:
    save_for_hf(model, tmp_path / "timm", safe_serialization=True)
    loaded = checkpoints.load(f"hf-hub:{tmp_path / 'timm'}")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.tower.module(images), model(images))
    assert loaded.path is None
    ours = checkpoints.write(tmp_path / "ours", tower=loaded.tower, config={"step": 7})
    assert checkpoints.load(f"hf-hub:{ours}").path == ours  # one of ours is not opened as timm's


@pytest.mark.parametrize("config", [None, {"architectures": ["CLIPModel"], "model_type": "clip"}])
def test_a_folder_of_another_library(config: dict[str, object] | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="is no model of timm's"):
        checkpoints.load(f"hf-hub:{tmp_path}")


def test_a_hub_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", None)  # nothing is tried again
    with pytest.raises(MachineError, match=r"hf-hub:nosuch/thing cannot be fetched: .* does not answer") as e:
        checkpoints.load("hf-hub:nosuch/thing")
    assert "hf-hub:FOLDER" in e.value.hint
    assert capfd.readouterr() == ("", "")


CACHED = """
import torch
from catlipctl import checkpoints
from catlipctl.errors import CatlipctlError
print(checkpoints.load("hf-hub:someone/tower").tower.module(torch.ones(1, 3, 32, 32))[0].tolist())
for name in ("a/b/c", "someone/else"):
    try:
        checkpoints.load("hf-hub:" + name)
    except CatlipctlError as error:
        print(error.exit_code, error)
"""


def test_the_cache_serves_what_was_fetched_before(model: torch.nn.Module, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--someone--tower"
    save_for_hf(model, repository / "snapshots" / ("0" * 40), safe_serialization=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", CACHED], capture_output=True, text=True, env=environment, check=False
    )
    logits, *errors = done.stdout.splitlines()
    with torch.no_grad():
        assert json.loads(logits) == pytest.approx(model(torch.ones(1, 3, 32, 32))[0].tolist(), abs=1e-6)
    assert [error[0] for error in errors] == ["4", "5"], errors
