"""`catlipctl data inspect` as a person types it."""

import io
import json
import shutil
import tarfile

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from catlipctl.cli import data

app = typer.Typer(pretty_exceptions_enable=False)
app.command("inspect")(data.inspect)


def run(*arguments: object, seconds: float = 0):
    return CliRunner().invoke(app, [*map(str, arguments), "--seconds", str(seconds)])


@pytest.fixture
def shard(tmp_path):
    packed = io.BytesIO()
    Image.new("RGB", (8, 6)).save(packed, "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, body in (
            ("0.png", packed.getvalue()),
            ("0.txt", b"a dog"),
            ("1.png", b"broken"),
            ("1.txt", b"the of and"),
            ("2.png", b"alone"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return tmp_path / "a.tar"


def test_json(shard, tmp_path):
    done = run(shard, "--json", "--all", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert (document["command"], document["status"]) == ("data inspect", "ok")
    result = document["result"]
    assert result["samples"] == 2
    assert result["faults"] == {"image without caption": 1}
    assert result["images"]["unreadable"] == 1
    assert result["captions"]["samples_without_label"] == 1
    assert result["inputs"]["source"] == str(shard)
    assert list((tmp_path / "cache" / "shards").iterdir())


def test_table(shard):
    done = run(shard)
    assert done.exit_code == 0
    assert "images unreadable" in done.stdout
    assert "50.0 % by corenet" in done.stdout
    assert [line.split()[:3] for line in done.stdout.splitlines() if "n02084071" in line] == [
        ["dog", "n02084071", "1"]
    ]
    assert "the of and" in done.stdout


def test_the_loader_is_timed_for_the_gpus_asked_for(shard):
    arguments = [shard, "--gpus", 2, "--nodes", 4, "--workers", 3, "--size", 16]
    done = run(*arguments, "--json", seconds=0.05)
    result = json.loads(done.stdout)["result"]
    sharing, forecast = result["sharing"], result["forecast"]
    assert (sharing["ranks"], sharing["workers"], sharing["enough"]) == (8, 3, False)
    assert forecast["per_gpu"] == forecast["images_per_second"] / 2 > 0
    assert "24 workers: several read the same one" in " ".join(run(*arguments).stdout.split())
    table = run(*arguments, seconds=0.05).stdout
    assert "images/s on each of 2 GPUs" in " ".join(table.split())


def test_several_sources_have_a_row_each(shard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(shard, "b.tar")
    done = run("a.tar", "b.tar=2")
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["b.tar=2"]]
    assert rows == [["b.tar=2", "2", "4", "1", "1", "1", "of", "2", "2", "50.0", "%"]]
    assert "warning: 1 image without caption" in done.stderr


def test_bad_input_is_exit_3_with_a_hint(shard, tmp_path):
    body = shard.read_bytes()
    (tmp_path / "cut.tar").write_bytes(body[:700])
    (tmp_path / "half.tar").write_bytes(body[:3000])
    (tmp_path / "empty.tar").write_bytes(bytes(10_240))
    for arguments in (
        ["gone"],
        ["cut.tar"],
        ["empty.tar"],
        ["half.tar", "--strict"],
        ["a.tar", "--caption-key", "x"],
    ):
        done = run(tmp_path / arguments[0], *arguments[1:])
        assert done.exit_code == 3, arguments
        assert [line.split(" ")[0] for line in done.stderr.splitlines()[-2:]] == ["error:", "hint:"]
        assert not done.stdout


def test_index_counts_each_shard_once(shard, tmp_path):
    counting = typer.Typer(pretty_exceptions_enable=False)
    counting.command("index")(data.index)

    def index(*arguments: object):
        told = ["--data", str(shard), "--cache-dir", str(tmp_path / "cache"), *map(str, arguments)]
        return CliRunner().invoke(counting, told)

    first = index("--workers", 1)
    assert first.exit_code == 0, first.output
    assert "samples that can be used" in first.output
    assert "1 image without caption: left out" in first.stderr
    (source,) = json.loads(index("--json").stdout)["result"]["sources"]
    assert (source["shards"], source["samples"], source["counted"], source["kept"]) == (1, 2, 0, 1)
    (shard.parent / "a.csv").write_text("filepath,title\n")
    wrong = CliRunner().invoke(counting, ["--data", str(shard.parent / "a.csv")])
    assert wrong.exit_code == 3
    assert "holds no tars" in wrong.output
