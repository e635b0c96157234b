"""Checkpoints whose manifest fits and whose content is wrong: each is refused as a checkpoint."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from catlipctl import checkpoints, models
from catlipctl.checkpoints.writing import write_manifest
from catlipctl.errors import CheckpointError
from catlipctl.settings.models import ModelSettings
from catlipctl.training.saved import Saved


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write(
        tmp_path_factory.mktemp("whole") / "checkpoint",
        tower=models.create(ModelSettings(name="resnet10t", image_size=32), num_classes=3),
        config={"objective": "catlip", "step": 1000, "recipe": {"name": "demo"}},
        label_names=["n02084071", "n02121620", "n02958343"],
        label_descriptions={"n02084071": "dog"},
        state={"step": torch.tensor(1000)},
        state_json={"step": 1000},
    )


@pytest.fixture
def checkpoint(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "checkpoint"))


def forge(checkpoint: Path, name: str, content: bytes) -> None:
    """Put another content in the place of a file, and write the manifest that fits it."""
    (checkpoint / name).write_bytes(content)
    (checkpoint / "manifest.json").unlink()
    write_manifest(checkpoint)


def changed(checkpoint: Path, path: str, value: Any) -> bytes:
    """`config.json` with another value at a dotted path."""
    document = json.loads((checkpoint / "config.json").read_text())
    *sections, last = path.split(".")
    inside = document
    for section in sections:
        inside = inside[section]
    inside[last] = value
    return json.dumps(document).encode()


DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("architecture", value) for value in (3, ["resnet10t"], None, {}, "", "hf-hub:a/b", "a\0")),
        *(("pretrained_cfg", value) for value in ("x", [1], None, 7)),
        *(("model_args", value) for value in ("x", [1], 7, {"nonsense": 1}, {"layers": "many"})),
        *(("catlipctl", value) for value in ("x", [1], None, 7)),
        *(("label_names", value) for value in ("x", 7, [1] * 3, [None] * 3, ["one"], [["x"]] * 3)),
        *(("label_descriptions", value) for value in ("x", [1], {"n02084071": 7})),
        *(("num_classes", value) for value in (-1, "many", 1.5)),
        *(("model_args", {"num_classes": value}) for value in (-1, 4, "many", 10**12)),
        *(("pretrained_cfg.mean", value) for value in ("x", [], ["a"], 7, float("nan"))),
        *(("pretrained_cfg.input_size", value) for value in ("x", [], [3], [3, 32, "x"])),
        *(("pretrained_cfg.crop_pct", value) for value in (0, -1, "x")),
        *(("pretrained_cfg.interpolation", value) for value in (7, "magic")),
        *(("catlipctl.step", value) for value in (-1, "x", [1], 10**30)),
        *(("catlipctl.recipe", value) for value in ("x", [1])),
        ("catlipctl.problem_type", "magic"),
    ],
)
def test_a_configuration_of_other_types(checkpoint: Path, path: str, value: Any) -> None:
    forge(checkpoint, "config.json", changed(checkpoint, path, value))
    with pytest.raises(CheckpointError, match=str(checkpoint)) as refused:
        checkpoints.inspect(checkpoint)
    assert refused.value.hint


@pytest.mark.parametrize(
    "text", [DEEP, "[" * 100_000, "[1]", "7", "null", '{"version": ' + DEEP + "}", "1" * 5000, "\ud800", ""]
)
@pytest.mark.parametrize("name", ["config.json", "manifest.json", "state/state.json"])
def test_json_of_another_shape(checkpoint: Path, name: str, text: str) -> None:
    content = text.encode(errors="surrogatepass")
    if name == "manifest.json":
        (checkpoint / name).write_bytes(content)
    else:
        forge(checkpoint, name, content)
    with pytest.raises(CheckpointError, match=name):
        checkpoints.read_state(checkpoint, Saved) if "state" in name else checkpoints.load(checkpoint)


STATE: dict[str, Any] = {
    "step": 1000,
    "samples": 8000,
    "totals": {"seconds": 1.5, "replaced": 0, "loss": 2.0},
    "without_moments": ["model.a"],
    "data": {"samples": 100, "content": "0123"},
    "processes": 1,
    "micro_batch": 8,
    "threads": 2,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("step", value) for value in (-1, "x", None, float("nan"), 10**30, [1])),
        *(("totals", value) for value in ("x", {}, [1], {**STATE["totals"], "loss": float("nan")})),
        *(("without_moments", value) for value in ("x", [1], None)),
        *(("data", value) for value in ("x", {}, {"samples": "x", "content": "y"})),
        *((key, value) for key in ("processes", "micro_batch", "threads") for value in (0, "x", [1])),
    ],
)
def test_a_state_of_other_types(checkpoint: Path, key: str, value: Any) -> None:
    forge(checkpoint, "state/state.json", json.dumps(STATE).encode())
    assert checkpoints.read_state(checkpoint, Saved)[1].totals.model_dump() == STATE["totals"]
    forge(checkpoint, "state/state.json", json.dumps({**STATE, key: value}).encode())
    with pytest.raises(CheckpointError, match=f"is not a training state: {key}"):
        checkpoints.read_state(checkpoint, Saved)


def test_what_a_later_version_adds_is_no_fault(checkpoint: Path) -> None:
    later = json.loads(changed(checkpoint, "catlipctl.problem_type", "multi_label_classification"))
    later["catlipctl"]["unheard_of"] = {"a": [1]}
    forge(checkpoint, "config.json", json.dumps({**later, "more": [1]}).encode())
    loaded = checkpoints.load(checkpoint)
    assert loaded.problem_type == "multi_label_classification"
    assert loaded.config["unheard_of"] == {"a": [1]}


def header(entries: dict[str, Any], body: bytes = b"", size: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04N.",
        header({}, size=2**63),
        header({}, size=2**62),
        header({"a": F32}),
        header({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
        header({"a": {**F32, "shape": [2**63, 2**63]}}, bytes(8)),
        header({"a": {**F32, "shape": [-1]}}, bytes(8)),
        header({"a": {**F32, "dtype": "NONE"}}, bytes(8)),
        header({"a": {**F32, "data_offsets": [0, 2**64]}}, bytes(8)),
        header({"a": [1]}, bytes(8)),
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        header({"a": F32}, bytes(8)),
    ],
    ids=lambda content: repr(content[:60]),
)
@pytest.mark.parametrize("name", ["model.safetensors", "state/state.safetensors"])
def test_a_safetensors_header_that_lies(checkpoint: Path, name: str, content: bytes) -> None:
    if name == "state/state.safetensors" and content == header({"a": F32}, bytes(8)):
        pytest.skip("whole, and no state: the learner looks at names")
    forge(checkpoint, name, content)
    with pytest.raises(CheckpointError):
        checkpoints.read_state(checkpoint, Saved) if "state" in name else checkpoints.load(checkpoint)


def test_weights_with_nan_or_of_another_shape(checkpoint: Path) -> None:
    weights = load((checkpoint / "model.safetensors").read_bytes())
    bias = weights["fc.bias"]
    for value, says in ((torch.full_like(bias, torch.nan), "fc.bias holds NaN"), (bias[:2], "another model")):
        forge(checkpoint, "model.safetensors", save({**weights, "fc.bias": value}))
        with pytest.raises(CheckpointError, match=says):
            checkpoints.load(checkpoint)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", "a/../../x", "a\\u0000b", ""])
def test_a_manifest_names_nothing_outside(checkpoint: Path, name: str) -> None:
    entry = f'{{"bytes": 1, "sha256": "{"0" * 64}"}}'
    (checkpoint / "manifest.json").write_text(
        f'{{"format": "catlipctl-checkpoint", "version": 1, "files": {{"{name}": {entry}}}}}'
    )
    with pytest.raises(CheckpointError, match="outside the checkpoint"):
        checkpoints.verify(checkpoint)


@pytest.mark.parametrize("pointer", ["/dev/zero", "/dev/random"])
def test_a_pointer_that_has_no_end(checkpoint: Path, pointer: str) -> None:
    run = checkpoint.parent / "run"
    (run / "checkpoints").mkdir(parents=True)
    step = checkpoint.rename(run / "checkpoints" / "step-00000001")
    (run / "checkpoints" / "latest").symlink_to(pointer)
    assert checkpoints.latest(run) == step
