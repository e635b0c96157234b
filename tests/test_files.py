"""Nothing half-written is ever seen, and nothing is read without a bound or taken for what it is not."""

import csv
import errno
import json
import os
import resource
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from catlipctl import files
from catlipctl.errors import CatlipctlError, CheckpointError, MachineError
from catlipctl.progress import Silent


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


class Row(BaseModel):
    step: int = Field(ge=0)


class Anything(BaseModel):
    inner: object = None


KIND = files.FileKind("a row", 2**20, CheckpointError, "make it again")


def test_a_sparse_file_of_ten_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(10 * 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="sparse is not a row: it has more than 1 MiB") as refused:
        KIND.read_bytes(path)
    assert refused.value.hint == "make it again"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 2**10  # KiB


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/zero", "it is neither a regular file nor a pipe"),
        ("/dev/random", "it is neither a regular file nor a pipe"),
        ("/", "it is a folder"),
        ("/nowhere/at/all", "No such file or directory"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_what_is_no_file_to_read(path: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        KIND.read_bytes(Path(path))


def test_a_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b'{"step": 7}'))
    writer.start()
    assert KIND.read_json(tmp_path / "pipe", Row) == Row(step=7)
    writer.join()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"step": -1}', "step: input should be greater than or equal to 0"),
        (b'{"step": [1]}', "step: input should be a valid integer"),
        (b"{}", "step: field required"),
        (b"[1]", "input should be an object"),
        (b'{"step": ', "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b'{"inner": ' + b"[" * 100_000, "it is not JSON .*recursion limit"),
        (b'{"inner": ' + b"[" * 900 + b"]" * 900 + b"}", "it is not JSON .*recursion limit"),
        (b'{"step": ' + b"1" * 5000 + b"}", "it is not JSON .*out of range"),
        (rb'{"inner": "\ud800"}', "it is not JSON .*hex escape"),
        (b'{"inner": "\xed\xa0\x80"}', "it is not JSON"),
    ],
)
def test_what_a_schema_refuses_is_one_sentence(text: bytes, says: str) -> None:
    with pytest.raises(CheckpointError, match=f"^mine is not a row: {says}") as refused:
        KIND.parsed(text, "mine", Row)
    assert len(refused.value.message) < 200


def test_a_last_row_that_a_kill_has_torn_is_no_row_and_another_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert KIND.read_rows(path, Row) == [Row(step=1), Row(step=2)]
    for damaged in ('{"st\n', "[]\n", "\0\0\n", '{"step": "x"}\n'):
        path.write_text(f'{{"step": 1}}\n{damaged}{{"step": 3}}\n')
        with pytest.raises(CheckpointError, match=r"rows\.jsonl, line 2, is not a row"):
            KIND.read_rows(path, Row)


def test_a_name_that_is_no_utf8_can_be_told_in_a_file(tmp_path: Path) -> None:
    files.write_json(tmp_path / "result.json", {"source": os.fsdecode(b"caf\xe9.tar")})
    assert json.loads((tmp_path / "result.json").read_text()) == {"source": "caf\ufffd.tar"}


def test_a_table_has_the_rows_that_pythons_writer_wrote(tmp_path: Path) -> None:
    rows = [{"label": 'a "b",\nc', "how": "é", "more": ""}, {"label": "", "how": "x", "more": "1"}]
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ("more", "label", "how"))
        writer.writeheader()
        writer.writerows(rows)
    assert KIND.read_table(tmp_path / "t.csv", ("label", "how")) == rows


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1 lacks how, label"),
        ("label,more\na,b\n", "line 1 lacks how"),
        ("label,how\na,b\nc\n", "line 3 lacks how"),
        ('label,how\n"a"b,c\n', "line 2: "),
    ],
)
def test_what_is_no_such_table(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CheckpointError, match=r"t\.csv is not a row: " + reason):
        KIND.read_table(tmp_path / "t.csv", ("label", "how"))


def test_a_file_that_comes_late_is_awaited(tmp_path: Path) -> None:
    """As one that another machine has written into a shared file system."""
    told: list[str] = []

    class Told(Silent):
        def note(self, message: str) -> None:
            told.append(message)

    path = tmp_path / "manifest.json"
    threading.Timer(0.3, path.touch).start()
    files.await_file(path, Told())
    assert path.exists()
    [said] = told
    assert "waiting until" in said
    with pytest.raises(MachineError, match="is not seen on") as caught:
        files.await_file(tmp_path / "never.json", Told(), seconds=0.2)
    assert caught.value.exit_code == 5
