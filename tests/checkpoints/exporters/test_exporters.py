"""Exports as others open them: timm without our code, onnxruntime, the Hub's own card reader."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor, nn

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.checkpoints.exporters import onnx as onnx_exporter
from catlipctl.errors import CheckpointError, MachineError, UsageError

from ..conftest import made

SMALL = {"embed_dim": 64, "depth": 2, "num_heads": 2}
FP16 = 1e-2
"""Of the largest logit: what the exporter promises."""

OPEN = """
import sys, timm, torch
from safetensors.torch import load_file, save_file
model = timm.create_model("local-dir:" + sys.argv[1], pretrained=True).eval()
with torch.no_grad():
    save_file({"logits": model(load_file(sys.argv[2])["images"])}, sys.argv[3])
assert not any(name.startswith("catlipctl") for name in sys.modules)
"""


def logits(checkpoint: Checkpoint, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = checkpoint.tower.module.eval()(images)
    return found


def run_of(tmp_path: Path, name: str = "vit_tiny_patch16_224", size: int = 32, **args: object) -> Checkpoint:
    """A run's checkpoint with labels that YAML and Markdown could take amiss."""
    tower = made(name, size, classes=3, **args)
    recipe = {"data": {"sources": ["hf:someone/pairs", "/data/own.tar"]}, "optimiser": {"lr": 0.002}}
    written = checkpoints.write_step(
        tmp_path / "run",
        7,
        tower=tower,
        config={"objective": "catlip", "recipe": recipe},
        problem_type=checkpoints.MULTI_LABEL,
        label_names=["cat: a|b", "# hund", "鳥"],
        label_descriptions={"# hund": "dog.n.01"},
    )
    return checkpoints.load(written)


def test_timm_alone_opens_the_folder_and_the_hub_reads_its_card(tmp_path: Path) -> None:
    loaded = run_of(tmp_path, **{**SMALL, "depth": 1})
    folder = tmp_path / "run" / "eval" / "lp-x-1"
    folder.mkdir(parents=True)
    own = {"protocol": "linear probe", "acc1": 0.625, "acc1_interval": [0.5, 0.75]}
    own |= {"data": {"test": {"source": "birds/test"}}, "inputs": {"checkpoint": str(loaded.path)}}
    (folder / "result.json").write_text(json.dumps(own))
    for number, change in enumerate(
        ({"inputs": {"checkpoint": "run/checkpoints/step-00000001"}}, {"random_backbone": True}), 2
    ):
        other = folder.with_name(f"lp-x-{number}")
        other.mkdir()
        (other / "result.json").write_text(json.dumps({**own, "acc1": 0.111, **change}))
    out = tmp_path / "out"
    found = checkpoints.export_timm(loaded, out)
    assert {Path(name).name for name in found.files} == {"README.md", "config.json", "model.safetensors"}

    images = torch.randn(5, 3, 32, 32)
    save_file({"images": images}, tmp_path / "images")
    arguments = [str(out), str(tmp_path / "images"), str(tmp_path / "logits")]
    subprocess.run([sys.executable, "-c", OPEN, *arguments], check=True)
    assert torch.equal(load_file(tmp_path / "logits")["logits"], logits(loaded, images))
    again = checkpoints.load(f"timm:local-dir:{out}")
    assert (again.label_names, again.problem_type) == (loaded.label_names, loaded.problem_type)

    card = ModelCard.load(out / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("timm", "image-classification")
    assert card.data.datasets == ["someone/pairs"]
    assert {"timm", "catlip"} <= set(card.data.tags)
    for words in ("/data/own.tar", "lr: 0.002", "sigmoid", "dog.n.01", "鳥", "birds/test", "0.6250"):
        assert words in card.text
    assert "0.1110" not in card.text  # of another step, and of an untrained tower
    with pytest.raises(UsageError, match="never overwritten"):
        checkpoints.export_timm(loaded, out)


def test_the_released_vit_says_that_it_needs_our_import(tmp_path: Path) -> None:
    loaded = run_of(tmp_path, "vit_base_catlip_224", 64, **SMALL)
    (remark,) = checkpoints.export_timm(loaded, tmp_path / "out").remarks
    assert "import catlipctl.models" in remark
    assert remark in (tmp_path / "out" / "README.md").read_text()


def test_what_timm_does_not_open_as_it_is_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    loaded = run_of(tmp_path, **{**SMALL, "depth": 1})
    # As a tower whose head timm's configuration cannot say.
    loaded.tower.module.head = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 3))  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="timm cannot open") as caught:
        checkpoints.export_timm(loaded, tmp_path / "out")
    assert "--to onnx" in caught.value.hint
    loaded = run_of(tmp_path / "b", **{**SMALL, "depth": 1})
    loaded.tower.module.norm = nn.Identity()  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="timm cannot open"):
        checkpoints.export_timm(loaded, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "b"}


@pytest.mark.parametrize(
    ("name", "size", "args"),
    [
        ("vit_tiny_patch16_224", 32, {**SMALL, "depth": 1}),
        ("resnet10t", 32, {}),
        ("vit_base_catlip_224", 64, SMALL),
    ],
)
def test_onnxruntime_gives_our_logits(name: str, size: int, args: dict[str, object], tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    loaded = run_of(tmp_path, name, size, **args)
    images = torch.randn(5, 3, size, size)
    sizes = {}
    for precision, tolerance in (("fp32", 1e-4), ("fp16", FP16)):
        file = tmp_path / f"{precision}.onnx"
        found = checkpoints.export_onnx(loaded, file, precision)  # type: ignore[arg-type]
        sizes[precision] = found.files[str(file)]
        session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
        (given,), (told,) = session.get_inputs(), session.get_outputs()
        assert (given.name, given.shape, given.type) == (
            "pixel_values",
            ["batch", 3, size, size],
            "tensor(float)",
        )
        assert (told.name, told.shape, told.type) == ("logits", ["batch", 3], "tensor(float)")
        for batch in (1, 5):
            expected = logits(loaded, images[:batch]).numpy()
            output = session.run(None, {given.name: images[:batch].numpy()})[0]
            assert np.abs(output - expected).max() <= tolerance * max(1, np.abs(expected).max())
            assert expected.std() > 0.01
    assert sizes["fp16"] < 0.7 * sizes["fp32"]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["label_names"]) == loaded.label_names
    assert metadata["activation"] == "sigmoid"
    expects, stated = loaded.tower.preprocessing, json.loads(metadata["preprocessing"])
    assert (stated["mean"], stated["std"]) == (list(expects.mean), list(expects.std))
    config = timm.data.resolve_model_data_config(loaded.tower.module)
    resize, crop = timm.data.create_transform(**config, is_training=False).transforms[:2]
    assert (stated["resize_short_side"], stated["center_crop"]) == (resize.size, max(crop.size))


def test_a_foreign_tower_without_a_head_gives_features_in_a_folder(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, **{**SMALL, "depth": 1})
    save_for_hf(model, tmp_path / "theirs", safe_serialization=True)
    loaded = checkpoints.load(f"timm:local-dir:{tmp_path / 'theirs'}")
    found = checkpoints.export_onnx(loaded, tmp_path / "out")
    assert (found.output, found.out) == ("features", str(tmp_path / "out" / "model.onnx"))
    session = ort.InferenceSession(found.out, providers=["CPUExecutionProvider"])
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(
        torch.from_numpy(session.run(["features"], {"pixel_values": images.numpy()})[0]),
        logits(loaded, images),
        atol=1e-4,
    )
    checkpoints.export_timm(loaded, tmp_path / "timm")
    assert "none: no head" in (tmp_path / "timm" / "README.md").read_text()


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    loaded = run_of(tmp_path, **{**SMALL, "depth": 1})
    with torch.no_grad():
        loaded.tower.linear_head().weight[0, 0] = 1e5
    with pytest.raises(CheckpointError, match="fp16 cannot hold"):
        checkpoints.export_onnx(loaded, tmp_path / "x.onnx", "fp16")
    assert not (tmp_path / "x.onnx").exists()


def test_without_the_packages_of_onnx_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MachineError) as caught:
        onnx_exporter.export_onnx(run_of(tmp_path, **{**SMALL, "depth": 1}), tmp_path / "x.onnx")
    assert "catlipctl[export]" in caught.value.hint
