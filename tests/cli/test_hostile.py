"""Inputs that are meant to harm, through the command line as it is typed: a sentence and its exit code."""

import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from io import BytesIO
from pathlib import Path

import pytest
import typer

from catlipctl.cli import output
from catlipctl.cli.output import Output, command
from catlipctl.cli.tables import facts, table
from catlipctl.errors import DataError, as_known
from catlipctl.results import Result

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "dog\x1b[2J\x9b31m\u202egnp\r.jpg"


def run(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "catlipctl.cli.main", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


def hostile_tar(path: Path) -> Path:
    picture = BytesIO()
    from PIL import Image

    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with tarfile.open(path, "w") as tar:
        for name, body in {
            "a\x1b[31m.png": picture.getvalue(),
            "a\x1b[31m.json": b'{"caption": ' + b"[" * 900 + b'"a dog"' + b"]" * 900 + b"}",
            "b.png": picture.getvalue(),
            "b.json": json.dumps({"caption": EVIL}).encode(),
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, BytesIO(body))
    return path


def refused(done: "subprocess.CompletedProcess[str]", code: int, words: str) -> None:
    assert done.returncode == code, done.stderr
    assert re.search(words, done.stderr)
    assert "unexpected" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not CONTROLS.search(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("vocab show DEVICE", 3),
        ("vocab overlap --target DEVICE", 3),
        ("vocab import DEVICE --out v.json", 3),
        ("recipe show DEVICE", 2),
        ("pretrain DEVICE --dry-run", 2),
    ],
)
def test_what_has_no_end_is_refused_at_once(tmp_path: Path, line: str, code: int) -> None:
    done = run(*line.replace("DEVICE", "/dev/zero").split(), cwd=tmp_path)
    refused(done, code, "cannot read /dev/zero: it is neither a regular file nor a pipe")


def test_a_pipe_without_end_is_read_up_to_the_bound(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def pour() -> None:
        try:
            with pipe.open("wb", buffering=0) as stream:
                while True:
                    stream.write(bytes(2**20))
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=pour)
    thread.start()
    refused(run("recipe", "show", str(pipe)), 2, "it has more than 1 MiB")
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_nested_caption_is_left_out_and_names_are_printed_harmlessly(tmp_path: Path) -> None:
    tar = hostile_tar(tmp_path / "shard\x1b[2J.tar")
    build = run("vocab", "build", str(tar), "--threshold", "0", "--out", str(tmp_path / "v.json"))
    refused(build, 3, r"a\\x1b\[31m in shard\\x1b\[2J\.tar")
    shown = run("labels", EVIL)
    assert shown.returncode == 0
    assert r"dog\x1b[2J\x9b31m\u202egnp\r.jpg" in shown.stdout
    assert not CONTROLS.search(shown.stdout)
    document = run("labels", EVIL, "--json")
    assert not CONTROLS.search(document.stdout)
    assert json.loads(document.stdout)["result"]["captions"][0]["caption"] == EVIL


def test_a_table_a_note_an_error_and_a_bar_obey_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATLIPCTL_DEBUG", "1")

    class Named(Result):
        name: str

    rows = table("label", EVIL, title=EVIL + "\nerror: forged")
    rows.add_row(EVIL, "forged\nrow")

    def speak() -> None:
        with command("test") as out:
            out.result(Named(name=EVIL), rows, facts({EVIL: EVIL}), f"wrote {EVIL}")
            out.note(EVIL)
            out.warn(EVIL)
            with out.task(EVIL, 2) as task:
                task.advance(1, at=EVIL)
            raise DataError(f"{EVIL}: of a\nmessage's own lines", EVIL) from ValueError(EVIL)

    monkeypatch.setattr(output, "LINE_EVERY_SECONDS", 0.0)
    with pytest.raises(typer.Exit):
        speak()
    shown = capsys.readouterr()
    spelled = r"dog\x1b[2J\x9b31m\u202egnp\r.jpg"
    assert not CONTROLS.search(shown.out + shown.err)
    assert shown.out.count(spelled) == 6
    assert r"forged\nrow" in shown.out
    assert rf"{spelled}\nerror: forged" in shown.out
    for line in (spelled, f"warning: {spelled}", f"error: {spelled}: of a", "message's own lines"):
        assert line in shown.err.splitlines()
    assert f"hint: {spelled}" in shown.err
    assert f"at {spelled}" in shown.err
    Output("test", json=True).result(Named(name=EVIL))
    document = capsys.readouterr().out
    assert not CONTROLS.search(document)
    assert json.loads(document)["result"]["name"] == EVIL


def test_a_nul_in_a_path_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="null") as raised:
        Path("a\0b").read_bytes()
    known = as_known(raised.value)
    assert (known.exit_code, known.message) == (2, "a path holds a NUL character")
    refused(run("pretrain", "--set", r'vocabulary.path="a\0b"', "--dry-run"), 2, "is not text")
