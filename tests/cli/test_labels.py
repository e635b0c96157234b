"""`catlipctl labels`, as a person and as a pipe use it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from catlipctl.cli.labels import labels

app = typer.Typer()
app.command("labels")(labels)

DOG, CAT = "n02084071", "n02121620"


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    return result.exit_code, result.stdout, result.stderr


def test_a_table_explains_each_word() -> None:
    code, shown, _ = run("two dogs in an [b]automobile[/b] \x1b[31m")
    assert code == 0
    assert "dog.n.01" in shown
    assert DOG in shown
    assert "synonym: automobile.n.01 is car.n.01" in shown
    assert "[b]automobile[/b]" in shown
    assert "\x1b[31m" not in shown


def test_json_is_one_document() -> None:
    code, shown, _ = run("a dog. a cat and a dog", "", "--json")
    result = json.loads(shown)["result"]
    assert code == 0
    assert (result["extractor"], result["extractor_version"]) == ("corenet", "1")
    assert [caption["labels"] for caption in result["captions"]] == [[DOG, CAT, DOG], []]
    assert [word["token"] for word in result["captions"][0]["words"]][:4] == ["a", "dog", ".", "a"]


def test_a_caption_a_line_whatever_the_bytes() -> None:
    code, shown, _ = run("-", "--json", stdin=b"a dog\r\n\n\xff\xfe cat\ncaf\xc3\xa9 dog")
    captions = json.loads(shown)["result"]["captions"]
    assert code == 0
    assert [c["caption"] for c in captions] == ["a dog", "", "\ufffd\ufffd cat", "café dog"]
    assert [c["labels"] for c in captions] == [[DOG], [], [CAT], [DOG]]


def test_a_table_of_a_megabyte_is_shown_in_part() -> None:
    code, shown, _ = run("-", stdin=b"dog " * 200_000 + b"\n" + b"x" * 1_000_000)
    assert code == 0
    assert "199,000 more" in shown
    assert len(shown) < 1_000_000


def test_arguments_that_are_not_text() -> None:
    code, shown, _ = run("\udcff dog", "--json")
    assert code == 0
    assert json.loads(shown)["result"]["captions"][0]["caption"] == "\ufffd dog"


def test_jsonl_answers_before_the_pipe_ends() -> None:
    program = "import typer; from catlipctl.cli.labels import labels; typer.run(labels)"
    command = [sys.executable, "-c", program, "-", "--jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line, expected in ((b"a dog\n", [DOG]), (b"\n", []), (b"some cats\n", [CAT])):
            process.stdin.write(line)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["labels"] == expected
        process.stdin.close()
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    "arguments", [[], ["dog", "--extractor", "verbs"], ["dog", "--json", "--jsonl"]], ids=str
)
def test_usage_errors(arguments: list[str]) -> None:
    code, _, stderr = run(*arguments)
    assert code == 2
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dog", "--out", "labels.tsv"], "--out writes a label set"),
        (["--target", "cifar10", "--jsonl"], "--jsonl is for captions"),
        (["--target", "cifar10", "--extractor", "nouns"], "--extractor is for captions"),
        (["--target", "cifar10", "--extractor", "corenet"], "--extractor is for captions"),
    ],
)
def test_an_option_that_nothing_would_read_is_refused(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown, stderr = run(*arguments)
    assert (code, shown) == (2, "")
    assert says in stderr
    assert not list(tmp_path.iterdir())


def test_a_label_set_is_shown_and_written_to_edit(tmp_path: Path) -> None:
    names, file = tmp_path / "mine.txt", tmp_path / "mine.tsv"
    names.write_text("pizza\nhot dog\nsandwich\nxyzzy\n", encoding="utf-8")
    code, shown, said = run("--target", str(names), "--out", str(file))
    assert code == 0
    line = next(line for line in shown.splitlines() if "hot dog" in line)
    assert "hotdog.n.02" in line
    assert "hotdog.n.01" in line  # the other sense
    assert "sandwich < snack food" in shown
    assert "no synset: line 4: xyzzy" in said
    assert "hot dog\thotdog.n.02\n" in file.read_text(encoding="utf-8")
    code, shown, said = run("--target", str(file), "--json")
    labels = json.loads(shown)["result"]["labels"]
    assert [(label["label"], label["line"]) for label in labels[:2]] == [("pizza", None), ("hot dog", None)]
    assert labels[3]["senses"] == []
    assert run("--target", str(names), "--out", str(file))[0] == 2
    assert run("--target", str(names), "a caption")[0] == 2
    assert run()[0] == 2
