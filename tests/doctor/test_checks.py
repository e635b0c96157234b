"""Each check sees the fault that it is there for."""

from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision

from catlipctl import doctor

TORCHRUN = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in (*TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE"):
            patch.delenv(name, raising=False)
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def test_all_checks_pass_where_the_tests_run(tmp_path: Path) -> None:
    diagnosis = doctor.examine(tmp_path)
    assert diagnosis.failed == []
    assert len({check.name for check in diagnosis.checks}) == len(diagnosis.checks)
    assert all(check.mend for check in diagnosis.checks if check.status != "ok")


def test_the_taggers_data_are_named_where_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nltk.data.path", [])
    check = doctor.nltk_data()
    assert check.status == "ok"
    assert check.mend.startswith(
        "python -m nltk.downloader averaged_perceptron_tagger_eng; without a network"
    )


def test_the_taggers_data_are_found_where_they_are(nltk_data: Path) -> None:
    assert nltk_data
    assert doctor.nltk_data().mend == ""


def test_missing_and_old_libraries_fail_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = doctor.library("no-such-library")
    assert (missing.status, missing.found) == ("failed", "missing")
    monkeypatch.setattr(doctor, "version", lambda _: "2.13.0")
    trap = doctor.library("torch")
    assert trap.status == "failed"
    assert "!=2.13.0" in trap.mend


def test_torchvision_without_its_operators_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_operator(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision.ops, "nms", no_operator)
    check = doctor.torchvision_operators()
    assert check.status == "failed"
    assert "nms does not exist" in check.found


def test_more_threads_than_cores_is_a_warning() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4096)
        check = doctor.processor()
    finally:
        torch.set_num_threads(threads)
    assert check.status == "warning"
    assert "OMP_NUM_THREADS" in check.mend


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, "ok"),
        (TORCHRUN, "warning"),
        ({**TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT"}, "warning"),
        ({**TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGINT,SIGTERM,SIGUSR1"}, "warning"),
        ({**TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGUSR1,SIGHUP,SIGQUIT,SIGINT,SIGTERM"}, "ok"),
        ({"WORLD_SIZE": "2"}, "failed"),
    ],
)
def test_launcher_that_loses_signals_is_told(values: dict[str, str], status: str) -> None:
    with environment(values):
        check = doctor.launcher()
    assert check.status == status
    assert ("--signals-to-handle" in check.mend) == (status == "warning")


def test_a_check_that_cannot_look_has_failed() -> None:
    def broken() -> doctor.Check:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    check = doctor.guarded("devices", broken)
    assert check.status == "failed"
    assert "libcudart" in check.found


def test_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = namedtuple("full", "total used free")(2**40, 2**40 - 1, 1)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: full)
    assert doctor.disk("disk here", tmp_path / "new").status == "warning"


def test_little_shared_memory_is_a_warning_with_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
    found = doctor.shared_memory(tmp_path)
    assert (found.status, "--shm-size" in found.mend) == ("warning", True)
    assert doctor.shared_memory(tmp_path / "nowhere").status == "ok"


def test_embedded_data_is_found_where_it_was_built(tmp_path: Path) -> None:
    assert "not built" in doctor.embedded_data(tmp_path / "new").found
    (tmp_path / "emoji-0123abcd" / "pairs").mkdir(parents=True)
    assert doctor.embedded_data(tmp_path).found.endswith("emoji-0123abcd")
