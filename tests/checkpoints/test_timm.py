"""What timm makes of our checkpoints by itself, and what we make of timm's."""

import os
import shlex
import subprocess
import sys

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from catlipctl import checkpoints
from catlipctl.errors import CheckpointError, MachineError

from .conftest import made

CLI = (sys.executable, "-m", "catlipctl.cli.main")

OPEN = """
import sys
import timm, torch
from safetensors.torch import load_file, save_file

name = "local-dir:" + sys.argv[1]
if sys.argv[4:]:
    try:
        sys.exit(str(timm.create_model(name, pretrained=True)))
    except RuntimeError as error:
        assert "Unknown model" in str(error), error
    import catlipctl.models
model = timm.create_model(name, pretrained=True).eval()
with torch.no_grad():
    logits = {size: model(batch) for size, batch in load_file(sys.argv[2]).items()}
size = str(timm.data.resolve_model_data_config(model)["input_size"][-1])
save_file(logits, sys.argv[3], metadata={"size": size})
assert bool(sys.argv[4:]) == any(name.startswith("catlipctl") for name in sys.modules)
"""


def opened_by_timm(path, images, tmp_path, *, with_our_import=False):
    """Image size and logits by `timm.create_model("local-dir:...", pretrained=True)` in a fresh process.

    With our import, the process first sees that without it timm knows no such model.
    """
    save_file(images, tmp_path / "images")
    arguments = [str(path), str(tmp_path / "images"), str(tmp_path / "logits")]
    arguments += ["import catlipctl.models"] if with_our_import else []
    subprocess.run([sys.executable, "-c", OPEN, *arguments], check=True)
    with safe_open(tmp_path / "logits", "pt") as stored:
        return int(stored.metadata()["size"]), load_file(tmp_path / "logits")


def test_timm_opens_a_timm_tower_without_any_code_of_ours(tmp_path, checkpoint):
    images = {"32": torch.rand(4, 3, 32, 32)}
    size, theirs = opened_by_timm(checkpoint, images, tmp_path)
    with torch.no_grad():
        ours = checkpoints.load(checkpoint).tower.module(images["32"])
    assert ours.std() > 0.01
    assert torch.equal(theirs["32"], ours)
    assert size == 32


@pytest.mark.parametrize(
    ("native", "model_args"),
    [
        pytest.param(224, {}, id="base at 224", marks=pytest.mark.slow),
        pytest.param(320, {"embed_dim": 64, "depth": 2, "num_heads": 2}, id="small at 320"),
    ],
)
def test_timm_opens_the_released_vit_after_our_import_alone(tmp_path, native, model_args):
    tower = made("vit_base_catlip_224", native, classes=30, **model_args)
    path = checkpoints.write(tmp_path / "checkpoint", tower=tower, config={})
    images = {str(size): torch.rand(2, 3, size, size) for size in (224, 320)}
    size, theirs = opened_by_timm(path, images, tmp_path, with_our_import=True)
    assert size == native
    loaded = checkpoints.load(path).tower.module
    assert loaded.pos_embed.shape[1] == 196
    for size, batch in images.items():
        with torch.no_grad():
            ours = loaded(batch)
            assert torch.equal(ours, tower.module(batch))
        assert ours.std() > 0.01
        assert torch.equal(theirs[size], ours)


@pytest.mark.parametrize(
    ("name", "head", "width"),
    [
        ("levit_256d", "NormLinear", 512),
        ("deit_tiny_distilled_patch16_224", "Linear + Linear", 192),
        ("resnetv2_18", "Conv2d", 512),
    ],
)
def test_a_head_that_is_not_one_linear_layer_is_written_loaded_and_named(name, head, width, tmp_path):
    tower = made(name, 224, classes=5)
    path = checkpoints.write(tmp_path / "checkpoint", tower=tower, config={}, label_names=list("abcde"))
    images = torch.rand(1, 3, 224, 224)
    theirs = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    with torch.no_grad():
        expected = tower.module(images)
        assert torch.equal(checkpoints.load(path).tower.module(images), expected)
        assert torch.equal(theirs(images), expected)
    found = checkpoints.inspect(path)
    assert (found.head, found.features, found.classes) == (head, width, 5)
    assert found.head_parameters == found.parameters - sum(
        p.numel() for p in timm.create_model(name, num_classes=0).parameters()
    )


def test_a_timm_model_saved_by_timm_opens_here_and_is_written_again(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=1000, img_size=64, depth=2).eval()
    save_for_hf(model, tmp_path / "timm", safe_serialization=True)
    loaded = checkpoints.load(f"timm:local-dir:{tmp_path / 'timm'}")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        assert torch.equal(loaded.tower.module(images), expected)
    assert (loaded.path, loaded.vocabulary, loaded.config) == (None, None, {})
    ours = checkpoints.write(tmp_path / "ours", tower=loaded.tower, config={"step": 0})
    with torch.no_grad():
        assert torch.equal(checkpoints.load(ours).tower.module(images), expected)


def test_names_of_an_old_head_are_not_handed_on(tmp_path, checkpoint):
    loaded = checkpoints.load(checkpoint)
    again = checkpoints.write(tmp_path / "again", tower=loaded.tower, config={})
    assert checkpoints.load(again).label_names is None
    assert "label_names" not in timm.create_model(f"local-dir:{again}").pretrained_cfg


def test_imagenet_towers_come_with_their_labels(monkeypatch):
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained: create(name, pretrained=not pretrained)
    )
    loaded = checkpoints.load("timm:resnet10t.c3_in1k")
    assert loaded.label_names is not None
    assert (len(loaded.label_names), loaded.label_names[0]) == (1000, "n01440764")
    assert "tench" in loaded.label_descriptions["n01440764"]


def test_what_timm_cannot_open(tmp_path):
    for name in ("resnet_of_nobody", "vit_base_mci_224.none", f"local-dir:{tmp_path}", "vit_base_catlip_224"):
        with pytest.raises(CheckpointError, match=r"timm:.*cannot be loaded|cannot read .*config.json"):
            checkpoints.load(f"timm:{name}")


@pytest.mark.parametrize("name", ["resnet10t.c3_in1k", "hf-hub:nosuch/thing"])
def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch, capfd, name):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", None)  # nothing is tried again
    with pytest.raises(MachineError, match=rf"timm:{name} cannot be fetched: .* does not answer") as error:
        checkpoints.load(f"timm:{name}")
    assert "timm:local-dir:FOLDER" in error.value.hint
    assert capfd.readouterr() == ("", "")


class Touch:
    """What unpickles it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pth"])
def test_no_pickle_passes_the_door(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a tower"
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1).eval()
    save_for_hf(model, folder, safe_serialization=True)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict() | {"more": Touch(tmp_path / "made")}, folder / name)
    with pytest.raises(CheckpointError, match="only pickled weights") as caught:
        checkpoints.load("timm:local-dir:a tower")
    assert not (tmp_path / "made").exists()
    command = caught.value.hint.split(" by ")[1].split(" and name ")[0]
    assert subprocess.run(shlex.split(command), capture_output=True, check=False).returncode
    assert not (tmp_path / "made").exists()
    torch.save(model.state_dict(), folder / name)  # one that may be trusted
    with pytest.raises(CheckpointError, match="only pickled weights"):
        checkpoints.load("timm:local-dir:a tower")
    python, *arguments = shlex.split(command)
    assert python == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(checkpoints.load("timm:local-dir:a tower").tower.module(images), model(images))


def test_no_pickle_of_the_hub_is_read(tmp_path):
    """From a cache as huggingface_hub keeps it, which knows that there is no model.safetensors."""
    home = tmp_path / "hub" / "models--someone--tower"
    snapshot, absent = (home / name / "abc" for name in ("snapshots", ".no_exist"))
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=1)
    save_for_hf(model, snapshot, safe_serialization=True)
    (snapshot / "model.safetensors").unlink()
    torch.save({"more": Touch(tmp_path / "made")}, snapshot / "pytorch_model.bin")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    absent.mkdir(parents=True)
    (absent / "model.safetensors").touch()
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [*CLI, "checkpoint", "inspect", "timm:hf-hub:someone/tower"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (found.returncode, "only pickled weights (pytorch_model.bin)" in found.stderr) == (4, True), found
    assert not (tmp_path / "made").exists()


def test_what_is_named_as_safetensors_and_is_none_is_refused(tmp_path):
    save_for_hf(timm.create_model("test_vit"), tmp_path, safe_serialization=True)
    torch.save({"more": Touch(tmp_path / "made")}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        checkpoints.load(f"timm:local-dir:{tmp_path}")
    assert not (tmp_path / "made").exists()
