"""A small source of drawn images with captions, and a recipe that trains on it in seconds."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from catlipctl.labels.wordnet import nouns
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.report import RunState
from catlipctl.training.saving import Saves
from catlipctl.vocabulary import Vocabulary

WORDS = ("dog", "cat", "car", "tree", "house", "boat", "bird", "apple", "chair", "flower")


def starts(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's starts.jsonl."""
    return [json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of 60 pairs: a coloured shape, `a dog and a cat`."""
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("source") / "pairs.tar"
    with tarfile.open(path, "w") as tar:
        for index in range(60):
            image = Image.new("RGB", (40, 36), tuple(draw.integers(0, 255, 3).tolist()))
            ImageDraw.Draw(image).ellipse((5, 5, 30, 25), fill=tuple(draw.integers(0, 255, 3).tolist()))
            png = io.BytesIO()
            image.save(png, "png")
            first, second = draw.choice(WORDS, 2)
            _add(tar, f"{index:04d}.png", png.getvalue())
            _add(tar, f"{index:04d}.txt", f"a {first} and a {second}".encode())
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of the ten words that the captions use."""
    graph = nouns()
    keys = sorted(str(graph.key_of(f"{word}.n.01")) for word in WORDS)
    found = Vocabulary(
        keys=tuple(keys),
        counts=(9,) * len(keys),
        extractor="corenet",
        extractor_version="1",
        source="drawn",
        captions=60,
        captions_without_label=0,
        counted="occurrences",
        threshold=0,
    )
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    found.save(path)
    return path


@pytest.fixture
def document(pairs: Path, words: Path) -> dict[str, Any]:
    """The recipe of a tiny ViT, which has no BatchNorm, as plain data."""
    return {
        "model": {
            "name": "vit_tiny_patch16_224",
            "image_size": 32,
            "model_args": {"embed_dim": 24, "depth": 2, "num_heads": 2},
        },
        "data": {"sources": [str(pairs)]},
        "vocabulary": {"path": str(words)},
        "global_batch_size": 10,
        "length": {"steps": 8},
        "optimiser": {"lr": 3e-3},
        "schedule": {"warmup_steps": 2},
    }


@pytest.fixture
def recipe(document: dict[str, Any]) -> PretrainRecipe:
    return PretrainRecipe.model_validate(document)


@pytest.fixture
def after_saves(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The checkpoints of a run after each of its saves was written, and others were taken away."""
    found: list[list[str]] = []
    save = Saves.save

    def listed(self: Saves, state: RunState, *, keep: bool = True) -> None:
        save(self, state, keep=keep)
        self._writer.last.done.wait()
        found.append(sorted(path.name for path in (self.run / "checkpoints").glob("step-*")))

    monkeypatch.setattr(Saves, "save", listed)
    return found
