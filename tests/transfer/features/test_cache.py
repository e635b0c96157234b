"""Features are what timm gives, however they came: at once, in parts, by several processes, from a disk."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data.transforms_factory import create_transform

from catlipctl import models
from catlipctl.data import open_source
from catlipctl.errors import DataError
from catlipctl.models import TimmTower, Tower
from catlipctl.progress import Silent
from catlipctl.settings.models import ModelSettings
from catlipctl.training.world import World
from catlipctl.transfer.classifier import with_head
from catlipctl.transfer.features import extract, extraction
from catlipctl.transfer.features.cache import FOLDER, identity

IMAGES = 23
BROKEN = (4, 22)


def tower(classes: int = 3, size: int = 32) -> Tower:
    """The same in every process."""
    torch.manual_seed(0)
    return models.create(ModelSettings(name="resnet10t", image_size=size), num_classes=classes)


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 noisy photos in one class folder, two of them damaged."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "noise").mkdir()
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        path = folder / "noise" / f"{number:02d}.png"
        Image.fromarray(draw.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
        if number in BROKEN:
            path.write_bytes(path.read_bytes()[:60])
    return folder


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "BATCH", 3)
    monkeypatch.setattr(extraction, "PART", 5)


def by_timm(made: TimmTower, pictures: Path) -> torch.Tensor:
    expects = made.preprocessing
    prepare: Any = create_transform(
        expects.size,
        interpolation=expects.interpolation,
        mean=expects.mean,
        std=expects.std,
        crop_pct=expects.crop_pct,
    )
    whole = [n for n in range(IMAGES) if n not in BROKEN]
    images = [prepare(Image.open(pictures / "noise" / f"{n:02d}.png").convert("RGB")) for n in whole]
    with torch.inference_mode():
        module: Any = made.module.eval()
        return module.forward_head(module.forward_features(torch.stack(images)), pre_logits=True)


def parts(cache: Path) -> list[Path]:
    return sorted((cache / FOLDER).glob("*/*.safetensors"))


def test_subsets_and_their_rest_are_extracted_once(pictures: Path, tmp_path: Path) -> None:
    made, source, notes = tower(), open_source(str(pictures), need="labels"), Notes()
    chosen = [1, 3, 4, 20]
    some = extract(made, source, chosen, cache=tmp_path, progress=notes)
    assert (some.samples.tolist(), some.unreadable, some.extracted) == ([1, 3, 20], 1, 4)
    found = extract(made, source, cache=tmp_path, progress=notes)
    assert (found.extracted, found.unreadable, len(found.keys)) == (IMAGES - 4, 2, IMAGES - 2)
    truth = by_timm(made, pictures)
    assert torch.allclose(found.values, truth, atol=1e-5)
    assert [int(Path(key).stem) for key in found.keys] == found.samples.tolist()
    assert torch.equal(found.values[[1, 3, 19]], some.values)
    assert any("features of 4 images are in the cache" in line for line in notes.lines)
    again = extract(made, source, cache=tmp_path)
    assert again.extracted == 0
    assert torch.equal(again.values, found.values)
    assert again.keys == found.keys
    plain = extract(made, source)
    assert torch.equal(plain.samples, found.samples)
    assert plain.keys == found.keys
    assert torch.allclose(plain.values, truth, atol=1e-5)
    with pytest.raises(DataError, match="none of the 2 images"):
        extract(made, source, list(BROKEN), cache=tmp_path)


def test_a_damaged_or_foreign_part_is_made_again_and_told(pictures: Path, tmp_path: Path) -> None:
    made, source = tower(), open_source(str(pictures), need="labels")
    found = extract(made, source, cache=tmp_path)
    first, second, third, *_ = parts(tmp_path)
    first.write_bytes(first.read_bytes()[:-7])
    save_file({"values": torch.ones(3)}, second)
    third.write_bytes(b"no tensors")
    notes = Notes()
    again = extract(made, source, cache=tmp_path, progress=notes)
    assert sum("is no whole part of these features" in line for line in notes.lines) == 3
    assert 9 <= again.extracted <= 18
    assert torch.allclose(again.values, found.values, atol=1e-5)
    assert extract(made, source, cache=tmp_path).extracted == 0


def test_whatever_decides_a_feature_is_in_the_key(pictures: Path, tmp_path: Path) -> None:
    made, source = tower(), open_source(str(pictures), need="labels")
    known = {identity(made, source)}
    # Not the head: a fitted classifier has the tower's features.
    assert identity(with_head(made, torch.ones(7, 512), torch.ones(7)), source) in known
    assert identity(tower(), source) in known

    def is_new(key: str) -> bool:
        new = key not in known
        known.add(key)
        return new

    assert is_new(identity(tower(size=64), source))
    assert is_new(identity(made, source, precision=torch.bfloat16))
    assert is_new(identity(made, source, decode="exact"))
    module: Any = tower().module
    module.global_pool.pool_type = "max"  # same weights, other features
    assert is_new(identity(TimmTower(module), source))
    changed = tower()
    with torch.no_grad():
        next(changed.module.buffers()).add_(1e-3)  # BatchNorm's statistics
    assert is_new(identity(changed, source))
    module = tower().module
    module.pretrained_cfg = {**module.pretrained_cfg, "mean": (0.1, 0.2, 0.3)}
    assert is_new(identity(TimmTower(module), source))
    copied = tmp_path / "noise"
    copied.mkdir()
    for picture in sorted((pictures / "noise").iterdir()):
        (copied / picture.name).write_bytes(picture.read_bytes())
    assert is_new(identity(made, open_source(str(tmp_path), need="labels")))
    (copied / "07.png").write_bytes((copied / "08.png").read_bytes())
    assert is_new(identity(made, open_source(str(tmp_path), need="labels")))


def test_killed_it_goes_on_from_its_parts(pictures: Path, tmp_path: Path) -> None:
    slow = subprocess.Popen([sys.executable, __file__, str(pictures), str(tmp_path), "slow"], env=env())
    end = time.monotonic() + 120
    while not parts(tmp_path) and slow.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    source = open_source(str(pictures), need="labels")
    found = extract(tower(), source, cache=tmp_path)
    assert 0 < found.extracted < IMAGES
    assert torch.allclose(found.values, by_timm(tower(), pictures), atol=1e-5)


def test_two_processes_count_each_image_once(
    pictures: Path, tmp_path: Path, in_processes: Callable[..., list[int]]
) -> None:
    assert in_processes(__file__, pictures, tmp_path, "together") == [0, 0]
    alone = extract(tower(), open_source(str(pictures), need="labels"))
    for kept in ("cached", "temporary"):
        together = torch.load(tmp_path / f"{kept}.pt")
        assert together["shares"] == [IMAGES // 2, IMAGES - IMAGES // 2]
        assert torch.equal(together["samples"], alone.samples)
        assert together["keys"] == alone.keys
        assert together["unreadable"] == alone.unreadable == 2
        assert torch.allclose(together["values"], alone.values, atol=1e-6)
        assert together["others"] == 0
    assert parts(tmp_path)


def env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def main(pictures: str, folder: str, how: str) -> None:
    extraction.BATCH, extraction.PART = 3, 5
    made, source = tower(), open_source(pictures, need="labels")
    if how == "slow":
        forward = made.module.forward_features  # type: ignore[operator]

        def waiting(images: torch.Tensor) -> torch.Tensor:
            time.sleep(0.3)
            return forward(images)  # type: ignore[no-any-return]

        made.module.forward_features = waiting  # type: ignore[assignment]
        extract(made, source, cache=Path(folder))
        return
    world = World(cpu=True)
    taken: list[int] = []
    read_images = extraction.read_images

    def counted(source: Any, preprocessing: Any, indices: Any, **options: Any) -> Any:
        taken.append(len(indices))
        return read_images(source, preprocessing, indices, **options)

    extraction.read_images = counted  # type: ignore[assignment]
    for kept, cache in (("cached", Path(folder)), ("temporary", None)):
        found = extract(made, source, cache=cache, world=world)
        shares, others = world.gather(taken[-1:]), world.gather([len(found.samples)])[1]
        if world.is_main:
            document = {name: getattr(found, name) for name in ("samples", "keys", "unreadable", "values")}
            torch.save({**document, "shares": shares, "others": others}, Path(folder) / f"{kept}.pt")
    world.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
