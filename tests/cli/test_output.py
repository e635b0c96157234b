"""Progress, on a terminal and where none is; and how errors are said."""

import sys
from pathlib import Path

import pytest
import typer

from catlipctl.cli import output
from catlipctl.cli.output import Output
from catlipctl.cli.tables import table
from catlipctl.errors import UsageError, as_known


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


def test_a_table_that_is_noted_stands_on_stderr_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    shown = table("label", "synset")
    shown.add_row("[red]dog[/red] :dog: \x1b[2J", "dog.n.01")
    Output("test", json=True).note_table(shown)
    said = capsys.readouterr()
    assert said.out == ""
    assert "[red]dog[/red] :dog: " in said.err
    assert "\x1b" not in said.err


def test_an_error_of_the_system_names_the_file_and_a_mend() -> None:
    with pytest.raises(FileNotFoundError) as raised:
        Path("nowhere/at/all").read_text()
    known = as_known(raised.value)
    assert known.message == "nowhere/at/all: No such file or directory"
    assert known.hint
    assert as_known(OSError("a pipe broke")).message == "a pipe broke"


def test_work_that_goes_on_counts_the_whole_and_its_rate_is_of_this_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with Output("test", json=False).task("pretrain", total=12_000, unit="images", done=6_000) as task:
        assert capsys.readouterr().err == "pretrain: 6,000/12,000 images\n"
        now = 10.0
        task.advance(1_000)
        assert capsys.readouterr().err == "pretrain: 7,000/12,000 images, 100 images/s, eta 50 s\n"


def test_a_terminals_bar_starts_where_the_run_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    with Output("test", json=False).task("pretrain", total=12_000, unit="images", done=6_000) as task:
        task.advance(1_000)
    assert "7,000/12,000 images" in capsys.readouterr().err


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_is_shown_where_it_was_asked_for_of_our_own_errors_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    monkeypatch.setenv("CATLIPCTL_DEBUG", "1" if debug else "")
    with pytest.raises(typer.Exit) as ended, output.command("test"):
        raise UsageError("it cannot be", "do otherwise")
    shown = capsys.readouterr().err
    assert ("Traceback" in shown) is debug
    assert shown.endswith("error: it cannot be\nhint: do otherwise\n")
    assert ended.value.exit_code == 2
