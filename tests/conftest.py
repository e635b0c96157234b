"""Fixtures that several test folders share."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: what passed once passes again, and a failure can be repeated.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        pytest.skip(f"{what} is not on this machine")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real image-text pairs, captions and label lists that may not be shipped."""
    return _folder(SHARED / "data", "the development data")


@pytest.fixture(scope="session")
def nltk_data() -> Path:
    """NLTK's corpora, with NLTK told to look there."""
    nltk = pytest.importorskip("nltk")
    folder = _folder(SHARED / "nltk_data", "NLTK's data")
    if str(folder) not in nltk.data.path:
        nltk.data.path.insert(0, str(folder))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache: all share one of the test run's own."""
    root = tmp_path_factory.getbasetemp() / "catlipctl-cache"
    monkeypatch.setenv("CATLIPCTL_CACHE_DIR", str(root))
