"""Each check sees the fault that it is there for."""

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from catlipctl.doctor import machine


def test_more_threads_than_cores_is_a_warning() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4096)
        check = machine.processor()
    finally:
        torch.set_num_threads(threads)
    assert check.status == "warning"
    assert "OMP_NUM_THREADS" in check.mend


def test_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    full = namedtuple("full", "total used free")(2**40, 2**40 - 1, 1)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: full)
    assert machine.disk("disk here", tmp_path / "new").status == "warning"


def test_little_shared_memory_is_a_warning_with_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
    found = machine.shared_memory(tmp_path)
    assert (found.status, "--shm-size" in found.mend) == ("warning", True)
    assert machine.shared_memory(tmp_path / "nowhere").status == "ok"
