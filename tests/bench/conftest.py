"""A CLIP of open_clip's form that takes milliseconds a step."""

import json
from pathlib import Path
from typing import Any

import pytest

TINY: dict[str, Any] = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49_408, "width": 32, "heads": 2, "layers": 3},
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the configuration `TINY`."""
    path = tmp_path_factory.mktemp("configurations") / "tiny-clip.json"
    path.write_text(json.dumps(TINY))
    return path
