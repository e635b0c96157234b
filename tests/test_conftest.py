"""Tests of shared data: never skipped unseen where CI is set."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
def test_pairs(shared_data):
    assert (shared_data / "pairs").is_dir()

def test_words(nltk_data):
    assert nltk_data.is_dir()
"""


@pytest.fixture
def checkout(pytester: pytest.Pytester) -> Path:
    """A checkout of our fixtures alone, with two tests that use them."""
    folder = pytester.mkdir("checkout") / "tests"
    folder.mkdir()
    (folder / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (folder / "test_of_shared_data.py").write_text(TESTS)
    return folder


def outcomes(pytester: pytest.Pytester, folder: Path) -> tuple[dict[str, int], str]:
    result = pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider", folder)
    return result.parseoutcomes(), result.stdout.str()


def test_absent_data_skip_a_test_with_a_reason(
    pytester: pytest.Pytester, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    found, said = outcomes(pytester, checkout)
    assert found == {"skipped": 2}
    assert "needs shared/data, which" in said
    assert "needs shared/nltk_data, which" in said


def test_absent_data_fail_a_test_where_ci_is_set(
    pytester: pytest.Pytester, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    found, said = outcomes(pytester, checkout)
    assert found == {"errors": 2}  # a fixture's failure
    assert "needs shared/data, which does not lie beside this checkout, and CI is set" in said


@pytest.mark.parametrize("ci", ["", "true"])
def test_data_that_are_there_are_used(
    pytester: pytest.Pytester, checkout: Path, monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    for name in ("data/pairs", "nltk_data"):
        (pytester.path / "shared" / name).mkdir(parents=True)
    assert outcomes(pytester, checkout)[0] == {"passed": 2}
