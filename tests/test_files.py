"""Nothing half-written is ever seen."""

import errno
import os
from pathlib import Path

import pytest

from catlipctl import files
from catlipctl.errors import CatlipctlError


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"run": 1})
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "half \ud800")
    assert path.read_text() == '{\n  "run": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_and_is_never_replaced(tmp_path: Path) -> None:
    def write(text: str) -> None:
        with files.replacing(tmp_path / "made") as temporary:
            temporary.mkdir()
            (temporary / "part").write_text(text)

    write("first")
    with pytest.raises(OSError, match="made"):
        write("second")
    assert (tmp_path / "made" / "part").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_says_how_much_is_free(tmp_path: Path) -> None:
    with pytest.raises(CatlipctlError, match="disk full") as raised, files.replacing(tmp_path / "f"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "MiB free" in raised.value.message
    assert raised.value.hint


def test_where_nothing_can_be_written_the_real_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatlipctlError, match=r"cannot write .*/file/result\.json: .*file is a file"):
        files.write_json(tmp_path / "file" / "result.json", {})
    # Root may write everywhere, so the refusal is played.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CatlipctlError) as refused, files.replacing(tmp_path / "f") as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))
    assert refused.value.message == f"cannot write {tmp_path / 'f'}: Permission denied"
    assert refused.value.hint


def test_all_of_a_folder_is_on_the_disk_before_it_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str | int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_ino))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
    with files.replacing(tmp_path / "made") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "part").touch()
    made = tmp_path / "made"
    parts = {path.stat().st_ino for path in (made, made / "inner", made / "inner" / "part")}
    assert set(done[:3]) == parts
    assert done[3:] == ["renamed", tmp_path.stat().st_ino]


def test_sha256_is_the_known_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "abc") == expected


def test_a_name_that_is_taken_is_numbered(tmp_path: Path) -> None:
    assert files.unused(tmp_path / "run") == tmp_path / "run"
    assert files.unused(tmp_path / "run", numbered=True) == tmp_path / "run-1"
    (tmp_path / "run").mkdir()
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-2.png").touch()
    assert (
        files.unused(tmp_path / "run") == files.unused(tmp_path / "run", numbered=True) == tmp_path / "run-2"
    )
    assert files.unused(tmp_path / "run", (".json",)) == tmp_path / "run"
    assert files.unused(tmp_path / "run", (".json", ".png"), numbered=True) == tmp_path / "run-1"
    (tmp_path / "run.json").touch()
    assert files.unused(tmp_path / "run", (".json", ".png")) == tmp_path / "run-3"
