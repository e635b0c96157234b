"""The directory: what stands in it, what its manifest catches, and that it appears at once."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from safetensors.torch import load_file

from catlipctl import checkpoints
from catlipctl.checkpoints.writing import write_manifest
from catlipctl.errors import CatlipctlError, CheckpointError, UsageError
from catlipctl.transfer.classifier import save_head


class Position(BaseModel):
    position: int


def test_manifest_holds_size_and_sha256_of_every_file(checkpoint):
    document = json.loads((checkpoint / "manifest.json").read_text())
    found = {p.relative_to(checkpoint).as_posix() for p in checkpoint.rglob("*") if p.is_file()}
    assert found - {"manifest.json"} == set(document["files"])
    assert {"model.safetensors", "config.json", "vocabulary.json", "account.csv"} <= found
    for name, entry in document["files"].items():
        content = (checkpoint / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert checkpoints.verify(checkpoint).bytes == sum(e["bytes"] for e in document["files"].values())


def test_config_says_what_timm_needs_and_what_it_is(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    assert (config["architecture"], config["num_classes"], config["num_features"]) == ("resnet10t", 300, 512)
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert config["label_names"][:2] == ["n02084071", "n02121620"]
    assert config["label_descriptions"]["n02084071"] == "dog"
    assert config["catlipctl"]["format_version"] == 1
    assert config["catlipctl"]["step"] == 1000


def test_everything_comes_back(checkpoint, resnet, vocabulary):
    loaded = checkpoints.load(checkpoint)
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.tower.module(images), resnet.module(images))
    assert not loaded.tower.module.training
    assert loaded.vocabulary == vocabulary
    assert loaded.config == {"objective": "catlip", "step": 1000, "recipe": {"name": "demo", "steps": 1500}}
    assert loaded.label_names == list(vocabulary.keys)
    tensors, document = checkpoints.read_state(checkpoint, Position)
    assert torch.equal(tensors["optimiser.weight"], torch.arange(6.0))
    assert tensors["step"].item() == 1000
    assert document == Position(position=128_000)


def test_tied_weights_are_stored_twice_and_further_files_beside(tmp_path, resnet):
    weights = resnet.module.state_dict()
    shared = weights["layer1.0.conv1.weight"]
    tied = next(n for n, v in weights.items() if v.shape == shared.shape and v is not shared)
    weights[tied] = shared
    further = {"open_clip_model.safetensors": {"visual.trunk.a": shared, "logit_scale": torch.tensor(2.5)}}
    path = checkpoints.write(tmp_path / "a", tower=resnet, weights=weights, config={}, tensors=further)
    stored = load_file(path / "model.safetensors")
    assert stored.keys() == resnet.module.state_dict().keys()
    assert torch.equal(stored[tied], shared)
    found = load_file(path / "open_clip_model.safetensors")
    assert found["logit_scale"] == 2.5
    assert torch.equal(found["visual.trunk.a"], shared)
    assert "open_clip_model.safetensors" in checkpoints.verify(path).files
    checkpoints.load(path)


def test_what_does_not_fit_is_not_written(tmp_path, resnet, checkpoint):
    weights = resnet.module.state_dict()
    weights.pop("fc.bias")
    with pytest.raises(CheckpointError, match=r"fc\.bias"):
        checkpoints.write(tmp_path / "a", tower=resnet, weights=weights, config={})
    with pytest.raises(CheckpointError, match=r"300 classes.* 2 label names"):
        checkpoints.write(tmp_path / "a", tower=resnet, config={}, label_names=["dog", "cat"])
    assert not (tmp_path / "a").exists()
    with pytest.raises(UsageError, match="never overwritten"):
        checkpoints.write(checkpoint, tower=resnet, config={})


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.json"])
def test_a_flipped_byte_is_named(checkpoint, name):
    _flip(checkpoint / name)
    for read in (checkpoints.load, checkpoints.verify):
        with pytest.raises(CheckpointError, match=f"{name} has SHA-256") as caught:
            read(checkpoint)
        assert caught.value.exit_code == 4
        assert caught.value.hint


def test_all_damage_is_reported_together(checkpoint):
    _flip(checkpoint / "state/state.safetensors")
    (checkpoint / "account.csv").unlink()
    (checkpoint / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"account\.csv is missing; state/state\.safetensors has SHA"):
        checkpoints.verify(checkpoint)
    with pytest.raises(CheckpointError, match="state"):
        checkpoints.read_state(checkpoint, Position)
    assert checkpoints.load(checkpoint).config["step"] == 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": "catlipctl-checkpoint", "version": 2, "files": {}}', "format version 2"),
        ('{"format": "other", "version": 1, "files": {}}', "not a checkpoint's manifest"),
        ("[1, 2]", "not a checkpoint's manifest"),
        ('{"format": "catlipctl-ch', "not a checkpoint's manifest: it is not JSON"),
        ("\udcff", "not a checkpoint's manifest: it is not JSON"),
    ],
)
def test_other_manifests_are_refused(checkpoint, text, words):
    (checkpoint / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=words):
        checkpoints.load(checkpoint)


def test_without_manifest_it_is_half_written(checkpoint):
    (checkpoint / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"half-written: no manifest\.json"):
        checkpoints.load(checkpoint)


def test_an_unregistered_tower_is_an_error_not_wrong_logits(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "architecture": "vit_base_unheard_of"}))
    (checkpoint / "manifest.json").unlink()
    write_manifest(checkpoint)
    with pytest.raises(CheckpointError, match="vit_base_unheard_of"):
        checkpoints.load(checkpoint)


def test_a_full_disk_leaves_what_was_there(small_disk, resnet):
    run = small_disk(32) / "run"
    state = {"raw": torch.zeros(2**22)}
    first = checkpoints.write_step(run, 1, tower=resnet, config={})
    with pytest.raises(CatlipctlError, match="disk full"):
        checkpoints.write_step(run, 2, tower=resnet, config={}, state=state)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["latest", "step-00000001"]
    assert checkpoints.latest(run) == first


WRITER = """
import sys
from pathlib import Path
import torch
from catlipctl import checkpoints, models
from catlipctl.settings.models import ModelSettings
tower = models.create(ModelSettings(name="resnet10t", image_size=32), num_classes=10)
run = Path(sys.argv[1])
state = {"raw": torch.zeros(20_000_000)}
checkpoints.write_step(run, 1, tower=tower, config={"step": 1}, state=state)
print("ready", flush=True)
for step in range(2, 1000):
    checkpoints.write_step(run, step, tower=tower, config={"step": step}, state=state)
"""


@pytest.mark.slow
def test_a_process_killed_while_it_saves_leaves_whole_checkpoints_alone(tmp_path, resnet):
    run = tmp_path / "run"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(run)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 60
    while not (begun := list((run / "checkpoints").glob(".step-*.tmp/model.safetensors"))):
        assert time.monotonic() < deadline
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert begun[0].exists(), "it was killed in the middle of a save"
    for step in (run / "checkpoints").glob("step-*"):
        checkpoints.verify(step)
    newest = checkpoints.latest(run)
    assert newest is not None
    following = checkpoints.write_step(run, 2000, tower=resnet, config={})
    assert checkpoints.latest(run) == following
    assert not list((run / "checkpoints").glob(".*"))


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_the_umask_decides_who_may_read(tmp_path, resnet, vocabulary, umask):
    before = os.umask(umask)
    try:
        path = checkpoints.write(
            tmp_path / "checkpoint",
            tower=resnet,
            config={},
            vocabulary=vocabulary,
            state={"step": torch.tensor(1000)},
            tensors={"open_clip_model.safetensors": {"logit_scale": torch.ones(1)}},
        )
        save_head(tmp_path / "checkpoint" / "head.safetensors", torch.ones(2, 3), torch.ones(2))
    finally:
        os.umask(before)
    modes = {found.name: found.stat().st_mode & 0o777 for found in path.rglob("*") if found.is_file()}
    assert len([name for name in modes if name.endswith(".safetensors")]) == 4
    assert modes == dict.fromkeys(modes, 0o666 & ~umask)
