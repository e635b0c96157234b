"""What is installed, and what is not."""

from pathlib import Path

import pytest
import torchvision

from catlipctl.doctor import software


def test_the_taggers_data_are_named_where_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nltk.data.path", [])
    check = software.nltk_data()
    assert check.status == "ok"
    assert check.mend.startswith(
        "python -m nltk.downloader averaged_perceptron_tagger_eng; without a network"
    )


def test_the_taggers_data_are_found_where_they_are(nltk_data: Path) -> None:
    assert nltk_data
    assert software.nltk_data().mend == ""


def test_missing_and_old_libraries_fail_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = software.library("no-such-library")
    assert (missing.status, missing.found) == ("failed", "missing")
    monkeypatch.setattr(software, "version", lambda _: "2.13.0")
    trap = software.library("torch")
    assert trap.status == "failed"
    assert "!=2.13.0" in trap.mend


def test_torchvision_without_its_operators_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_operator(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", no_operator)
    check = software.torchvision_operators()
    assert check.status == "failed"
    assert "nms does not exist" in check.found


def test_embedded_data_is_found_where_it_was_built(tmp_path: Path) -> None:
    assert "not built" in software.embedded_data(tmp_path / "new").found
    (tmp_path / "emoji-0123abcd" / "pairs").mkdir(parents=True)
    assert software.embedded_data(tmp_path).found.endswith("emoji-0123abcd")
