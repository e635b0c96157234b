"""Predictions on whatever a folder of photos holds, against torch's own arithmetic on the loaded model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import EvalTransform
from catlipctl.errors import DataError
from catlipctl.labels import targets
from catlipctl.transfer import predict, write_transfer_init

from ..conftest import draw, tower


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    draw(folder / "a.png", "red", 0)
    picture = Image.open(folder / "a.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("L").save(folder / "grey.PNG")
    picture.save(folder / "moving.gif", save_all=True, append_images=[Image.new("RGB", (40, 40))])
    (folder / "broken.jpg").write_bytes((folder / "cmyk.jpg").read_bytes()[:200])
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_each_is_answered_or_its_fault_named(checkpoint: Checkpoint, photos: Path) -> None:
    result = predict(checkpoint, [photos, photos / "a.png", photos / "missing.png"], top=3)
    names = [Path(image.image).name for image in result.images]
    assert names == ["a.png", "broken.jpg", "cmyk.jpg", "grey.PNG", "moving.gif", "missing.png"]
    faults = {Path(i.image).name: i.fault for i in result.images if i.fault}
    assert faults.keys() == {"broken.jpg", "missing.png"}
    assert result.unreadable == 2
    assert "No such file" in faults["missing.png"]
    assert all(len(image.labels) == (0 if image.fault else 3) for image in result.images)


def test_a_pre_training_head_gives_synsets_by_sigmoid(checkpoint: Checkpoint, photos: Path) -> None:
    result = predict(checkpoint, [photos / "a.png"], top=20)
    assert result.probabilities == "sigmoid"
    expects = checkpoint.tower.preprocessing
    pixels = EvalTransform(expects)((photos / "a.png").read_bytes(), 0, expects.size)
    image = (pixels / 255 - expects.mean) / expects.std
    with torch.no_grad():
        batch = torch.tensor(image).permute(2, 0, 1)[None].float()
        expected = torch.sigmoid(checkpoint.tower.module(batch)[0])
    order = expected.argsort(descending=True).tolist()
    assert checkpoint.vocabulary is not None
    assert [label.label for label in result.images[0].labels] == [
        checkpoint.vocabulary.keys[i] for i in order
    ]
    assert [label.probability for label in result.images[0].labels] == pytest.approx(
        expected[order].tolist(), rel=1e-4
    )
    assert {label.label: label.description for label in result.images[0].labels}["n02084071"] == "dog.n.01"


def test_a_classifier_gives_its_labels_by_softmax(photos: Path, tmp_path: Path) -> None:
    names = ["tench", "goldfish", "shark"]
    checkpoints.write(tmp_path / "c", tower=tower(3), config={}, label_names=names)
    result = predict(checkpoints.load(tmp_path / "c"), [photos / "a.png"])
    assert result.probabilities == "softmax"
    labels = result.images[0].labels
    assert sorted(label.label for label in labels) == sorted(names)
    assert sum(label.probability for label in labels) == pytest.approx(1)


def test_the_checkpoint_says_which_by_every_door(
    checkpoint: Checkpoint, run: Path, photos: Path, tmp_path: Path
) -> None:
    """A classifier that was made of a pre-training head, by its path and by timm's door, copied and not."""
    exclusive, several = (
        Path(write_transfer_init(checkpoint, target, tmp_path / target.name).checkpoint)
        for target in (targets.load("cifar10"), targets.load("coco"))
    )
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(several / name, copied)
    (step,) = (run / "checkpoints").glob("step-*")
    expected = {exclusive: "softmax", several: "sigmoid", run: "sigmoid", step: "sigmoid", copied: "sigmoid"}
    for path, activation in expected.items():
        names = {run: [str(run)], copied: [f"timm:local-dir:{copied}"]}
        for name in names.get(path, [str(path), f"timm:local-dir:{path}"]):
            loaded = checkpoints.load(name)
            result = predict(loaded, [photos / "a.png"], top=1000)
            assert result.probabilities == activation, name
            with torch.no_grad():
                pixels = EvalTransform(loaded.tower.preprocessing)((photos / "a.png").read_bytes(), 0, 32)
                image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
                logits = loaded.tower.module(loaded.tower.preprocessing.prepared(image))[0]
            wanted = logits.softmax(0) if activation == "softmax" else logits.sigmoid()
            found = [label.probability for label in result.images[0].labels]
            assert found == pytest.approx(wanted.sort(descending=True).values.tolist(), abs=1e-5)


HUB = """
from catlipctl import checkpoints
loaded = checkpoints.load("timm:hf-hub:someone/tagger")
print(loaded.problem_type, loaded.config["objective"], loaded.label_names)
"""


def test_a_tagger_on_the_hub_is_a_tagger(tmp_path: Path) -> None:
    """As huggingface_hub has it in its cache after a download; nothing is fetched."""
    written = checkpoints.write(
        tmp_path / "c",
        tower=tower(2),
        config={"objective": "catlip"},
        problem_type=checkpoints.MULTI_LABEL,
        label_names=["cat", "dog"],
    )
    repository = tmp_path / "hub" / "hub" / "models--someone--tagger"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(written / name, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", HUB], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.strip() == "multi_label_classification catlip ['cat', 'dog']", done.stderr


def test_nothing_readable(checkpoint: Checkpoint, photos: Path, tmp_path: Path) -> None:
    for name, says in (("broken.jpg", "broken.jpg: damaged"), ("nosuch.jpg", "cannot read ")):
        with pytest.raises(DataError, match=says) as caught:
            predict(checkpoint, [photos / name])
        assert caught.value.message.count(name) == 1
    with pytest.raises(DataError, match="neither a regular file nor a pipe"):
        predict(checkpoint, [Path("/dev/zero")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        predict(checkpoint, [tmp_path / "empty"])
