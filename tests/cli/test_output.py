"""Progress where no terminal is."""

from pathlib import Path

import pytest

from catlipctl.cli import output
from catlipctl.cli.output import Output


def test_progress_off_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with Output("test", json=False).task("labels", total=12_000, unit="samples") as task:
        assert capsys.readouterr().err == "labels: 12,000 samples\n"
        now = 1.0
        task.advance(4_000)
        assert capsys.readouterr().err == ""
        now = 8.0
        task.advance(4_000, loss=0.123456, seen=1_234_567, found=2345.6)
        shown = "loss 0.1235 seen 1,234,567 found 2,346"
        assert capsys.readouterr().err == f"labels: 8,000/12,000 samples, 1,000 samples/s, eta 4 s, {shown}\n"
        now = 16.0
        task.advance(4_000)
    assert capsys.readouterr().err == f"labels: 12,000/12,000 samples, 750 samples/s, {shown}\n"


def test_slow_work_has_a_rate_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with Output("test", json=False).task("drawing") as task:
        now = 7.0
        task.advance(1)
    assert capsys.readouterr().err == "drawing ...\ndrawing: 1 it, 0.143 it/s\n"


def test_an_error_of_the_system_names_the_file_and_a_mend() -> None:
    with pytest.raises(FileNotFoundError) as raised:
        Path("nowhere/at/all").read_text()
    known = output.as_known(raised.value)
    assert known.message == "nowhere/at/all: No such file or directory"
    assert known.hint
    assert output.as_known(OSError("a pipe broke")).message == "a pipe broke"
