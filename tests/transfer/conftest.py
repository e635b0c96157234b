"""A tiny pre-trained run with real synsets in its vocabulary, and drawn images in class folders."""

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image, ImageDraw
from torch import nn

from catlipctl import checkpoints, models
from catlipctl.checkpoints import Checkpoint
from catlipctl.labels import wordnet
from catlipctl.models import Tower
from catlipctl.settings.models import ModelSettings
from catlipctl.vocabulary import Vocabulary

# dog and cat, two kinds of vehicle, two parts of a meal's table, and a colour.
NAMES = (
    "dog.n.01",
    "cat.n.01",
    "truck.n.01",
    "bicycle.n.01",
    "spoon.n.01",
    "fork.n.01",
    "red.n.01",
    "kitchen.n.01",
)
COLOURS = {"dog": "red", "cat": "lime", "truck": "blue", "spoon": "yellow"}


def keys(*names: str) -> tuple[str, ...]:
    found = [wordnet.nouns().key_of(name) for name in names]
    assert None not in found
    return tuple(key for key in found if key is not None)


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary(
        keys=keys(*NAMES),
        counts=tuple(range(100, 100 - len(NAMES), -1)),
        extractor="corenet",
        extractor_version="1",
        source="pairs.tar",
        captions=500,
        captions_without_label=2,
        counted="occurrences",
        threshold=5,
    )


def tower(classes: int, name: str = "resnet10t", size: int = 32) -> Tower:
    torch.manual_seed(0)
    made = models.create(ModelSettings(name=name, image_size=size), num_classes=classes)
    with torch.no_grad():
        if isinstance(made.head, nn.Linear):
            nn.init.normal_(made.head.weight, mean=0.2, std=0.5)
            nn.init.normal_(made.head.bias, mean=-5)
        made.module.train()(torch.rand(8, 3, size, size))
    made.module.eval()
    return made


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, vocabulary: Vocabulary) -> Path:
    """A run's folder with one checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    made = tower(len(vocabulary))
    checkpoints.write_step(folder, 10, tower=made, config={"step": 10}, vocabulary=vocabulary)
    return folder


@pytest.fixture
def checkpoint(run: Path) -> Checkpoint:
    return checkpoints.load(run)


def draw(path: Path, colour: str, seed: int) -> None:
    """A disc of `colour` on a grey ground, its place and size by `seed`."""
    place = torch.randint(0, 12, (3,), generator=torch.Generator().manual_seed(seed)).tolist()
    image = Image.new("RGB", (40, 40), (100 + 5 * place[2],) * 3)
    corner = (place[0], place[1])
    ImageDraw.Draw(image).ellipse(
        (*corner, corner[0] + 16 + place[2], corner[1] + 16 + place[2]), fill=colour
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """{train,test}/{dog,cat,truck,spoon}/*.png: 10 and 5 images a class."""
    folder = tmp_path_factory.mktemp("data")
    for split, count, start in (("train", 10, 0), ("test", 5, 1000)):
        for c, (name, colour) in enumerate(COLOURS.items()):
            for i in range(count):
                draw(folder / split / name / f"{i:02d}.png", colour, start + 100 * c + i)
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """{train,test}.jsonl, of 60 and 40 images: discs of dog, cat and truck, each or none, named in `seen`."""
    folder = tmp_path_factory.mktemp("scenes")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 60), ("test", 40)):
        rows = []
        for i in range(count):
            image = Image.new("RGB", (40, 40), (110,) * 3)
            seen = [name for name in ("dog", "cat", "truck") if torch.rand((), generator=generator) < 0.4]
            for place, name in enumerate(seen):
                corner = (13 * place, int(torch.randint(0, 20, (), generator=generator)))
                box = (*corner, corner[0] + 13, corner[1] + 18)
                ImageDraw.Draw(image).ellipse(box, fill=COLOURS[name])
            image.save(folder / f"{split}-{i}.png")
            rows.append(json.dumps({"filepath": f"{split}-{i}.png", "seen": seen}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    return folder


def timm_logits(checkpoint: str, images: list[Path]) -> torch.Tensor:
    """What timm alone, of a checkpoint that it opens by itself, says of images."""
    model = timm.create_model(f"local-dir:{checkpoint}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        return model(torch.stack([transform(Image.open(path).convert("RGB")) for path in images]))
