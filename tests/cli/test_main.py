"""The command as a whole: what it offers, how fast it answers, and how it ends on bad input."""

import io
import json
import signal
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from catlipctl.cli.main import app

WORDS = ["dog", "cat", "tree", "house", "car", "bird", "boat", "shoe", "hat", "cup"]


def leaves(group: typer.Typer, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for command in group.registered_commands:
        callback = command.callback
        assert callback is not None
        yield (*prefix, command.name or callback.__name__.replace("_", "-"))
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from leaves(inner.typer_instance, (*prefix, str(inner.name)))


@pytest.mark.parametrize("command", list(leaves(app)), ids=" ".join)
def test_every_command_explains_itself_and_offers_json(command: tuple[str, ...]) -> None:
    found = CliRunner().invoke(app, [*command, "--help"])
    assert found.exit_code == 0
    assert "--json" in found.stdout


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys; sys.argv = ['catlipctl', '--help']\n"
        "from catlipctl.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'timm', 'datasets', 'numpy', 'pydantic', 'matplotlib', 'nltk'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, through `main`."""
    line = [sys.executable, "-m", "catlipctl.cli.main", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "command", "says"),
    [
        (("labels", "--json", "--nonsense"), "labels", "no such option: --nonsense"),
        (("vocab", "show", "--json", "--top", "many"), "vocab show", "invalid value for '--top'"),
        (("vocab", "show", "--json", "--top"), "vocab show", "requires an argument"),
        (("recipe", "show", "--json"), "recipe show", "missing argument"),
        (("vocab", "count", "--json"), "vocab", "no such command 'count'"),
        (("--nonsense", "--json"), "catlipctl", "no such option"),
    ],
)
def test_what_the_parser_cannot_read(arguments: tuple[str, ...], command: str, says: str) -> None:
    ended = typed(*arguments)
    assert ended.returncode == 2
    document = json.loads(ended.stdout)
    assert (document["command"], document["status"]) == (command, "error")
    assert document["error"]["exit_code"] == 2
    first, second = ended.stderr.splitlines()
    assert first == f"error: {document['error']['message']}"
    assert says in first
    assert second == f"hint: {document['error']['hint']}"
    path = "catlipctl" if command == "catlipctl" else f"catlipctl {command}"
    assert second == f"hint: {path} --help shows what it takes"


def test_help_and_its_absence() -> None:
    asked, forgotten = typed("vocab", "--help"), typed("vocab")
    assert asked.returncode == 0
    assert forgotten.returncode == 2
    assert "overlap" in asked.stdout
    assert "overlap" in forgotten.stderr
    assert "error: " not in forgotten.stderr


@pytest.mark.parametrize("form", [[], ["--json"], ["--jsonl"]])
def test_a_reader_that_goes_away_is_exit_141_and_no_more(form: list[str]) -> None:
    line = [sys.executable, "-m", "catlipctl.cli.main", "labels", *form, "a dog and a cat"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ctrl_c_is_exit_130() -> None:
    line = [sys.executable, "-m", "catlipctl.cli.main", "labels", "-", "--jsonl"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(line, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"a dog\n" * 2000)
        process.stdin.flush()
        process.stdout.readline()  # it is at work
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdin.close()
    assert process.returncode == 130


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(stream, "PNG")
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG whose header claims 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def pairs(folder: Path) -> Path:
    """40 usable pairs, one image that claims to be huge, and one caption of 1 MB."""
    members = {}
    for i in range(40):
        members[f"{i:03}.png"] = picture(["red", "green", "blue"][i % 3])
        members[f"{i:03}.txt"] = " ".join(WORDS[(i + k) % len(WORDS)] for k in range(3)).encode()
    members["040.png"], members["040.txt"] = bomb(), b"a dog"
    members["041.png"], members["041.txt"] = picture("white"), b"a dog and a cat. " * 62_000
    return tar(folder / "pairs.tar", members)


def recipe(folder: Path) -> Path:
    path = folder / "small.yaml"
    path.write_text(
        "model: {name: resnet10t, image_size: 32}\n"
        "data: {sources: []}\n"
        "vocabulary: {path: vocabulary.json}\n"
        "global_batch_size: 21\n"
        "length: {epochs: 1}\n"
        "schedule: {warmup_steps: 1}\n"
    )
    return path


def vocabulary(folder: Path) -> Path:
    """A vocabulary of the ten words, as `vocab build` would write it."""
    from catlipctl.labels import wordnet
    from catlipctl.vocabulary import Vocabulary

    keys = tuple(sorted(str(wordnet.nouns().key_of(f"{word}.n.01")) for word in WORDS))
    Vocabulary(
        keys=keys,
        counts=(12,) * len(keys),
        extractor="corenet",
        extractor_version="1",
        source="test",
        captions=40,
        captions_without_label=0,
        counted="occurrences",
        threshold=1,
    ).save(folder / "vocabulary.json")
    return folder / "vocabulary.json"


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stderr; never a traceback."""
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    assert "Traceback" not in found.stderr
    return found.exit_code, found.stderr


def test_a_huge_image_and_a_huge_caption_are_trained_past(folder: Path, pairs: Path) -> None:
    vocabulary(folder)
    code, err = run("pretrain", recipe(folder), "--data", pairs, "--out", folder / "run")
    assert code == 0, err
    found = CliRunner().invoke(app, ["data", "inspect", str(pairs), "--all", "--json"])
    assert json.loads(found.stdout)["result"]["images"]["unreadable"] == 1
    metrics = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(row["replaced"] for row in metrics) == 1


def test_a_truncated_shard_is_used_as_far_as_it_is_whole(folder: Path, pairs: Path) -> None:
    vocabulary(folder)
    pairs.write_bytes(pairs.read_bytes()[: 20 * 3 * 1024 + 700])
    code, err = run("pretrain", recipe(folder), "--data", pairs, "--out", folder / "run")
    assert code == 0, err
    assert "truncated" in err
    code, err = run("pretrain", recipe(folder), "--data", pairs, "--out", folder / "strict", "--strict")
    assert (code, "truncated" in err) == (3, True)


@pytest.mark.parametrize(
    ("source", "says"),
    [("missing", "missing"), ("empty.tar", "empty"), ("images.tar", "caption"), ("cut.tar", "unreadable")],
)
def test_data_without_a_usable_pair_is_exit_3(folder: Path, source: str, says: str) -> None:
    tar(folder / "empty.tar", {})
    tar(folder / "images.tar", {"0.png": picture("red")})
    tar(folder / "cut.tar", {"0.png": picture("red"), "0.txt": b"a dog"})
    (folder / "cut.tar").write_bytes((folder / "cut.tar").read_bytes()[:600])
    code, err = run("pretrain", "demo", "--data", folder / source, "--out", folder / "run")
    assert code == 3
    assert says in err
    assert "hint: " in err


def test_small_data_and_the_papers_threshold_is_exit_3_with_the_sizes(pairs: Path) -> None:
    code, err = run("vocab", "build", pairs)
    assert code == 3
    for threshold in (5, 10, 50, 100):
        assert str(threshold) in err


def test_a_vocabulary_of_another_format_is_exit_3(folder: Path, pairs: Path) -> None:
    (folder / "vocabulary.json").write_text('{"dog": 3}')
    assert run("vocab", "show", "vocabulary.json")[0] == 3
    assert run("pretrain", recipe(folder), "--data", pairs, "--out", folder / "run")[0] == 3


def test_damaged_checkpoints_are_exit_4(folder: Path, pairs: Path) -> None:
    vocabulary(folder)
    assert run("pretrain", recipe(folder), "--data", pairs, "--out", folder / "run")[0] == 0
    step = next((folder / "run" / "checkpoints").glob("step-*"))
    weights = bytearray((step / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (step / "model.safetensors").write_bytes(weights)
    for command in (("checkpoint", "verify"), ("predict", pairs, "--checkpoint")):
        code, err = run(*command, folder / "run")
        assert (code, "model.safetensors" in err) == (4, True)
    (step / "manifest.json").unlink()
    code, err = run("checkpoint", "verify", step)
    assert (code, "manifest.json" in err) == (4, True)


def test_usage_faults_are_exit_2(folder: Path, pairs: Path) -> None:
    code, err = run("pretrain", "demo", "--set", "optimizer.lr=1", "--set", "model.image_sise=3")
    assert (code, "optimizer" in err, "did you mean model.image_size?" in err) == (2, True, True)
    code, err = run("pretrain", pairs)
    assert (code, "quote the pattern" in err) == (2, True)
    code, err = run("pretrain", "--data", pairs)
    assert (code, "demo" in err) == (2, True)
    (folder / "run").mkdir()
    (folder / "run" / "mine.txt").write_text("kept")
    code, err = run("pretrain", "demo", "--out", folder / "run")
    assert (code, "--resume" in err) == (2, True)
    assert (folder / "run" / "mine.txt").read_text() == "kept"
