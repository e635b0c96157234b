"""`catlipctl checkpoint inspect|verify|import|export` as a person and as a script sees them."""

import json

import pytest
import typer
from typer.testing import CliRunner

from catlipctl import checkpoints, models
from catlipctl.cli import checkpoint as commands
from catlipctl.settings.models import ModelSettings

app = typer.Typer()
app.command()(commands.inspect)
app.command()(commands.verify)
app.command("import")(commands.import_)
app.command()(commands.export)
runner = CliRunner()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ModelSettings(name="resnet10t", image_size=32)
    tower = models.create(settings, num_classes=3)
    checkpoints.write_step(
        tmp_path / "runs" / "demo",
        1500,
        tower=tower,
        config={"objective": "catlip", "step": 1500, "recipe": {"name": "demo"}},
        label_names=["n02084071", "cat", "bird"],
        label_descriptions={"n02084071": "dog"},
    )
    return tmp_path / "runs" / "demo"


@pytest.mark.usefixtures("run")
def test_inspect_shows_what_is_in_the_newest_run():
    found = runner.invoke(app, ["inspect"])
    assert found.exit_code == 0, found.output
    for words in ("resnet10t", "32 px", "dog, cat, bird", "1500", "demo", "model.safetensors"):
        assert words in found.stdout
    assert "newest run, " in found.stderr


def test_inspect_json(run):
    found = runner.invoke(app, ["inspect", str(run), "--json"])
    result = json.loads(found.stdout)["result"]
    model = checkpoints.load(run).tower.module
    assert result["parameters"] == sum(p.numel() for p in model.parameters())
    assert result["head_parameters"] == 3 * 512 + 3
    assert (result["architecture"], result["image_size"], result["classes"]) == ("resnet10t", 32, 3)
    assert result["about"]["step"] == 1500
    assert result["inputs"] == {"checkpoint": str(run)}


def test_verify_json_lists_every_file(run):
    result = json.loads(runner.invoke(app, ["verify", "--json"]).stdout)["result"]
    step = run / "checkpoints" / "step-00001500"
    assert {n: e["bytes"] for n, e in result["files"].items()} == {
        name: (step / name).stat().st_size for name in ("config.json", "model.safetensors")
    }


def test_verify_ends_with_4_at_a_flipped_byte(run):
    weights = run / "checkpoints" / "step-00001500" / "model.safetensors"
    assert "all whole" in runner.invoke(app, ["verify"]).stdout
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = runner.invoke(app, ["verify", "--json"])
    assert found.exit_code == 4
    assert "model.safetensors" in json.loads(found.stdout)["error"]["message"]
    assert "hint: " in found.stderr
    assert "Traceback" not in found.output


def test_no_run_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = runner.invoke(app, ["inspect"])
    assert found.exit_code == 4
    assert "catlipctl pretrain" in found.stderr


def test_export_writes_what_others_open_and_says_how_it_was_compared(run, tmp_path):
    pytest.importorskip("onnxruntime")
    for arguments, file in (
        (["--to", "timm", "--out", "hub"], "hub/config.json"),
        (["--to", "onnx", "--out", "x.onnx"], "x.onnx"),
    ):
        found = runner.invoke(app, ["export", str(run), *arguments, "--json"])
        assert found.exit_code == 0, found.output
        result = json.loads(found.stdout)["result"]
        assert result["files"][file] == (tmp_path / file).stat().st_size
        assert result["largest_difference"] < 1e-4
        assert runner.invoke(app, ["export", str(run), *arguments]).exit_code == 2
    wrong = runner.invoke(app, ["export", "--to", "timm", "--out", "y", "--precision", "fp16"])
    assert wrong.exit_code == 2
    assert "--precision" in wrong.stderr


def test_import_tells_what_became_of_it(run, tmp_path):
    found = runner.invoke(app, ["import", f"hf-hub:{run / 'checkpoints' / 'step-00001500'}", "--out", "ours"])
    assert found.exit_code == 0, found.output
    for words in ("resnet10t", "wrote ours", "no: Random Init only"):
        assert words in found.stdout
    assert "Random Init only: nothing says which synsets" in found.stderr
    found = runner.invoke(app, ["inspect", "--checkpoint", "ours", "--json"])
    assert json.loads(found.stdout)["result"]["labels"] == ["dog", "cat", "bird"]
    (tmp_path / "vit.pt").write_bytes(b"none")
    for name, code, says in (
        ("corenet:vit.pt", 4, "vit.pt cannot be read"),
        ("superclass:nowhere.pt", 4, "no file at nowhere.pt"),
        ("vit.pt", 2, "does not say what wrote it"),
        (f"hf-hub:{run / 'checkpoints' / 'step-00001500'}", 2, "exists"),
    ):
        found = runner.invoke(
            app, ["import", name, "--out", "ours" if says == "exists" else "more", "--json"]
        )
        error = json.loads(found.stdout)["error"]
        assert (found.exit_code, says in error["message"]) == (code, True), error
    found = runner.invoke(app, ["inspect", "--checkpoint", "vit.pt"])
    assert found.exit_code == 4
    assert "corenet:vit.pt" in found.stderr.replace("\n", "")
