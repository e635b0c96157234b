"""`catlipctl eval lp` and `ft` as a user types them: from class folders to a saved classifier."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from catlipctl import checkpoints, models, reports
from catlipctl.cli.evaluation import all_, attentive, fine_tune, knn, linear_probe
from catlipctl.cli.predict import predict
from catlipctl.settings.models import ModelSettings
from catlipctl.training.learner import Learner
from catlipctl.training.report import read_metrics
from catlipctl.transfer.probes.attention import AttentiveClassifier

app = typer.Typer()
app.command("lp")(linear_probe)
app.command("all")(all_)
app.command("knn")(knn)
app.command("attentive")(attentive)
app.command("ft")(fine_tune)
app.command("predict")(predict)


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/{train,val}/{dark,light}, one of them broken, and a tower without a vocabulary."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for name, shade in (("dark", 30), ("light", 220)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.new("RGB", (40, 40), (shade + i, shade, shade)).save(folder / f"{i}.png")
    (tmp_path / "photos" / "val" / "dark" / "broken.png").write_bytes(b"\x89PNG nothing")
    torch.manual_seed(0)
    tower = models.create(ModelSettings(name="resnet10t", image_size=32), num_classes=3)
    checkpoints.write(tmp_path / "tower", tower=tower, config={})
    return tmp_path / "photos"


def test_from_photos_to_predictions() -> None:
    result = CliRunner().invoke(app, ["lp", "timm:local-dir:tower", "--data", "photos", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    assert found["acc1"] == 1
    assert (found["train_images"], found["test_images"], found["unreadable"]) == (12, 12, 1)
    assert found["prior"] == {}
    assert json.loads((Path(found["checkpoint"]) / "result.json").read_text())["acc1"] == 1
    answer = CliRunner().invoke(
        app, ["predict", "photos/val/dark", "--checkpoint", found["checkpoint"], "--top", "1", "--json"]
    )
    assert answer.exit_code == 0, answer.output
    predicted = json.loads(answer.stdout)["result"]
    assert [image["labels"][0]["label"] for image in predicted["images"] if not image["fault"]] == [
        "dark"
    ] * 6
    assert predicted["unreadable"] == 1


def test_a_table_and_what_comes_next_and_nothing_overwritten() -> None:
    for number in (1, 2):
        result = CliRunner().invoke(
            app, ["lp", "tower", "--data", "photos/train", "--train-size", "2/class", "--random-backbone"]
        )
        assert result.exit_code == 0, result.output
        assert f"eval/lp-photos-untrained-{number}" in result.stdout
        assert "untrained, by seed 0" in result.stdout
        assert re.search(r"top-1 accuracy +[0-9.]+% \[[0-9.]+%, [0-9.]+%\]", result.stdout)
        assert "the images of photos/val" in result.stdout
    assert "catlipctl predict IMAGE... --checkpoint" in result.stdout
    shutil.copytree("photos/train", "alone/train")
    result = CliRunner().invoke(app, ["lp", "tower", "--data", "alone/train"])
    assert "20% of each class held out" in result.stdout


def test_the_control_of_a_tower_of_timms_needs_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    arguments = ["lp", "--checkpoint", "timm:test_resnet.r160_in1k", "--data", "photos", "--random-backbone"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    assert found["random_backbone"]
    assert found["checkpoint"] == "runs/test_resnet/eval/lp-photos-untrained-1"
    # Of a checkpoint of ours too no weights are read: these are damaged.
    weights = Path("tower/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    control = CliRunner().invoke(app, ["lp", "tower", "--data", "photos", "--random-backbone"])
    assert control.exit_code == 0, control.output
    assert CliRunner().invoke(app, ["lp", "tower", "--data", "photos"]).exit_code == 4


def test_two_processes_evaluate_as_one_does_and_features_are_kept() -> None:
    for i in range(5):
        image = Image.new("RGB", (40, 40), (120 + i, 120, 90))
        Path("photos/train/grey").mkdir(exist_ok=True)
        image.save(f"photos/train/grey/{i}.png")
    command = [sys.executable, "-m", "catlipctl.cli.main", "eval", "all", "tower", "--data", "photos"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    several = subprocess.run(
        [*command, "--processes", "2", "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert several.returncode == 0, several.stderr
    found = json.loads(several.stdout)["result"]
    assert found["extraction"] | {"seconds": 0} == {"seconds": 0, "images": 17 + 13, "cached": 0}
    assert "no class has a row" in found["left_out"]["zero-shot"]
    plain = CliRunner().invoke(app, ["all", "tower", "--data", "photos", "--no-cache", "--json"])
    assert plain.exit_code == 0, plain.output
    one = json.loads(plain.stdout)["result"]
    assert one["extraction"]["images"] == 30
    for key in ("acc1", "acc5", "mean_per_class_recall", "test_images", "train_images", "unreadable"):
        assert one["evaluations"]["lp"][key] == found["evaluations"]["lp"][key], key
    assert one["folders"] != found["folders"]
    table = CliRunner().invoke(app, ["lp", "tower", "--data", "photos"])
    assert re.search(r"features +0 images extracted in [0-9.]+ s; 30 were in the cache", table.stdout)


def test_neighbours_vote_as_they_are_told_to() -> None:
    line = ["knn", "tower", "--data", "photos", "--k", "3", "--temperature", "0.2"]
    result = CliRunner().invoke(app, [*line, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    assert found["folders"] == {"knn": "eval/knn-photos-1"}
    written = json.loads(Path("eval/knn-photos-1/result.json").read_text())
    assert found["evaluations"]["knn"].items() <= written.items()
    assert (written["k"], written["temperature"], written["acc1"]) == (3, 0.2, 1)
    rows = list(csv.DictReader(Path("eval/knn-photos-1/predictions.csv").read_text().splitlines()))
    assert [row["predicted"] for row in rows] == ["dark"] * 6 + ["light"] * 6
    table = CliRunner().invoke(app, line)
    assert re.search(r"knn +100.0% .* 3 nearest neighbours", table.stdout), table.stdout
    assert CliRunner().invoke(app, ["knn", "tower", "--data", "photos", "--k", "0"]).exit_code == 2


def test_several_train_sizes_give_a_curve_that_goes_on_and_a_page_shows_it() -> None:
    command = ["lp", "tower", "--data", "photos", "--init", "transfer,random"]
    for sizes, seeds, said in (
        ("2/class", 2, "2, of which 0 were there"),
        ("2/class,100%", 2, "4, of which 2"),
    ):
        result = CliRunner().invoke(app, [*command, "--train-size", sizes, "--seeds", str(seeds)])
        assert result.exit_code == 0, result.output
        assert said in result.stdout
    assert "there is no line of init transfer" in result.stderr
    assert re.search(r"100% +random +12 +2 +100.0% \[100.0%, 100.0%\]", result.stdout)
    folder = Path("eval/curve-photos")
    assert (folder / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((folder / "points").iterdir())) == 4
    page = reports.report([folder])
    assert page.sections[0] == "curve-photos"
    assert "100.0% (100.0 to 100.0)" in Path(page.path).read_text()
    wrong = CliRunner().invoke(app, ["lp", "tower", "--data", "photos", "--init", "transfer,none"])
    assert wrong.exit_code == 2


def test_patches_are_attended_to_within_the_memory_that_is_allowed() -> None:
    line = ["attentive", "tower", "--data", "photos"]
    refused = CliRunner().invoke(app, [*line, "--max-memory", "0.00001"])
    assert refused.exit_code == 2
    assert "the features (25 x 1 x 512) take 0.0 GiB" in refused.stderr
    assert "--max-memory 1" in refused.stderr
    assert not Path("eval").exists()
    result = CliRunner().invoke(app, [*line, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    written = json.loads(Path("eval/attentive-photos-1/result.json").read_text())
    assert found.items() <= written.items()
    assert (written["acc1"], written["patches"], written["feature_bytes"]) == (1, 1, 24 * 512 * 2)
    head = AttentiveClassifier.load(Path("eval/attentive-photos-1/head.safetensors"))
    assert head.classifier.weight.shape == (2, 512)
    table = CliRunner().invoke(app, [*line, "--train-size", "2/class"])
    assert re.search(r"training images +4 \(2/class\)", table.stdout), table.output
    assert "wrote eval/attentive-photos-2" in table.stdout


def test_the_data_are_looked_at_before_the_checkpoint_is_loaded() -> None:
    result = CliRunner().invoke(app, ["lp", "timm:no-such-model", "--data", "nowhere"])
    assert result.exit_code == 3
    assert "nowhere" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--data", "photos", "--train-size", "lots"], 2),
        (["--data", "nowhere"], 3),
        (["--data", "photos", "--target", "cifar10"], 3),
        (["--data", "photos/train/dark"], 3),
    ],
)
def test_faults_have_their_exit_codes(arguments: list[str], code: int) -> None:
    result = CliRunner().invoke(app, ["lp", "tower", *arguments])
    assert result.exit_code == code, result.output
    assert "error:" in result.stderr
    assert "hint:" in result.stderr


FEW = ["--set", "length.epochs=4", "--set", "global_batch_size=4", "--set", "schedule.warmup_steps=2"]


def test_fine_tuning_from_photos_to_predictions() -> None:
    result = CliRunner().invoke(app, ["ft", "tower", "--data", "photos", *FEW, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    found = document["result"]
    assert (document["command"], document["status"], found["init"]) == ("eval ft", "ok", "random")
    assert "no prior from Transfer Init: the checkpoint has no vocabulary" in result.stderr
    assert (found["steps"], found["train_images"], found["test_images"], found["unreadable"]) == (
        12,
        12,
        12,
        1,
    )
    assert found["inputs"] == {"checkpoint": "tower", "data": "photos/train", "test": "photos/val"}
    run = Path(found["run"])
    assert run == Path("eval/ft-photos")
    assert json.loads((run / "result.json").read_text())["acc1"] == found["acc1"]
    answer = CliRunner().invoke(app, ["predict", "photos/val/light", "--checkpoint", str(run), "--json"])
    assert answer.exit_code == 0, answer.output
    images = json.loads(answer.stdout)["result"]["images"]
    assert {label["label"] for label in images[0]["labels"]} == {"dark", "light"}
    assert sum(label["probability"] for label in images[0]["labels"]) == pytest.approx(1, abs=1e-3)

    # Again: a run of its own, as a table; or the same one, which is complete.
    assert sorted(path.name for path in run.glob("loss.*")) == ["loss.png"]
    again = CliRunner().invoke(app, ["ft", "tower", "--data", "photos/train", *FEW, "--plots", "none"])
    assert again.exit_code == 0, again.output
    assert "eval/ft-photos-2" in again.stdout
    assert not list(Path("eval/ft-photos-2").glob("loss.*"))
    assert "top-1 accuracy" in again.stdout
    low, high = json.loads(Path("eval/ft-photos-2/result.json").read_text(encoding="utf-8"))["acc1_interval"]
    assert f"[{low:.1%}, {high:.1%}]" in again.stdout
    rows = list(csv.DictReader((run / "predictions.csv").open(encoding="utf-8")))
    right = [row["predicted"] == row["truth"] == Path(row["sample"]).parent.name for row in rows]
    assert sum(right) / len(right) == found["acc1"]
    resumed = ["ft", "tower", "--data", "photos", "--out", str(run), "--resume", *FEW, "--json"]
    complete = CliRunner().invoke(app, resumed)
    assert complete.exit_code == 0, complete.output
    assert json.loads(complete.stdout)["result"]["acc1"] == found["acc1"]
    changed = CliRunner().invoke(app, [*resumed, "--set", "layer_decay=1"])
    assert changed.exit_code == 2
    assert "layer_decay: 0.75 in" in changed.stderr
    taken = CliRunner().invoke(app, ["ft", "tower", "--data", "photos", "--out", str(run)])
    assert taken.exit_code == 2
    assert "is not empty" in taken.stderr


def test_resume_without_a_checkpoint_follows_the_run_and_not_the_newest_pre_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pretrained(name: str) -> None:
        tower = models.create(ModelSettings(name="resnet10t", image_size=32), num_classes=3)
        checkpoints.write_step(Path("runs") / name, 1, tower=tower, config={})

    def stop(self: Learner, *arguments: Any) -> Any:
        monkeypatch.setattr(Learner, "gradients", gradients)
        os.kill(os.getpid(), signal.SIGTERM)
        return gradients(self, *arguments)

    gradients = Learner.gradients
    pretrained("first")
    # The requeue line, which starts where there is no run: of the newest pre-training.
    line = ["ft", "--data", "photos/train", "--test", "photos/val", "--resume", *FEW]
    monkeypatch.setattr(Learner, "gradients", stop)
    assert CliRunner().invoke(app, line).exit_code == 75
    pretrained("second")
    shutil.copytree("photos", "others")
    other = CliRunner().invoke(app, ["ft", "--data", "others", "--resume", *FEW, "--json"])
    assert json.loads(other.stdout)["result"]["run"] == "runs/second/eval/ft-others", other.output
    # Test images and keys are as the run has them.
    resumed = CliRunner().invoke(app, ["ft", "--data", "photos/train", "--resume", "--json"])
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stderr.startswith("going on with runs/first/eval/ft-photos (the newest unfinished run")
    found = json.loads(resumed.stdout)["result"]
    assert (found["run"], found["steps"]) == ("runs/first/eval/ft-photos", 12)
    assert found["inputs"]["checkpoint"] == "runs/first"
    assert found["split"] == "the images of photos/val"
    longer = ["ft", "--data", "photos/train", "--resume", "--out", found["run"], "--set", "length.epochs=5"]
    refused = CliRunner().invoke(app, longer)
    assert refused.exit_code == 2
    assert "length.epochs: 4.0 in runs/first/eval/ft-photos/recipe.yaml, 5.0 now" in refused.stderr
    lengthened = CliRunner().invoke(app, [*longer, "--allow-recipe-change", "--json"])
    assert lengthened.exit_code == 0, lengthened.output
    assert json.loads(lengthened.stdout)["result"]["steps"] == 15
    another = CliRunner().invoke(app, [*longer, "--allow-recipe-change", "--checkpoint", "runs/second"])
    assert another.exit_code == 2
    assert "checkpoint: runs/first in" in another.stderr
    assert "the weights began as its" in another.stderr


def test_two_processes_tell_what_was_chosen_once() -> None:
    settings = ModelSettings(name="resnet10t", image_size=32)
    checkpoints.write(
        Path("runs/only/checkpoints/step-00000001"), tower=models.create(settings, num_classes=3), config={}
    )
    Path("names.txt").write_text("dark\nlight\n", encoding="utf-8")
    arguments = ["ft", "--data", "nowhere", "--target", "names.txt", "--processes", "2"]
    found = subprocess.run(
        [sys.executable, "-m", "catlipctl.cli.main", "eval", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert found.returncode == 3, found.stderr
    assert found.stderr.count("checkpoint: runs/only (newest run") == 1, found.stderr
    assert found.stderr.count("the synsets of 2 of 2 labels are guessed") == 1, found.stderr


def test_fine_tuning_on_two_processes_is_that_of_one() -> None:
    settings = ModelSettings(
        name="vit_tiny_patch16_224", image_size=32, model_args={"embed_dim": 24, "depth": 1, "num_heads": 2}
    )
    checkpoints.write(Path("vit"), tower=models.create(settings, num_classes=3), config={})
    arguments = ["ft", "vit", "--data", "photos", *FEW, "--set", "global_batch_size=5"]
    one = CliRunner().invoke(app, [*arguments, "--out", "one", "--json"])
    assert one.exit_code == 0, one.output
    two = subprocess.run(
        [
            sys.executable,
            "-m",
            "catlipctl.cli.main",
            "eval",
            *arguments,
            "--out",
            "two",
            "--processes",
            "2",
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert two.returncode == 0, two.stderr
    found, wanted = (json.loads(text)["result"] for text in (two.stdout, one.stdout))
    assert (found["acc1"], found["steps"]) == (wanted["acc1"], wanted["steps"])
    losses = [[row["loss"] for row in read_metrics(Path(run) / "metrics.jsonl")] for run in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["tower", "--data", "photos", "--set", "layer_decya=1"], 2, "did you mean layer_decay?"),
        (["tower", "--data", "photos", "--set", "classification.label_smoothing=2"], 2, "label_smoothing"),
        (["tower", "--data", "photos", "--set", "global_batch_size=0"], 2, "global_batch_size"),
        (["tower", "--data", "nowhere"], 3, "nowhere"),
        (["tower", "--data", "photos", "--target", "cifar10"], 3, "are not labels of cifar10"),
        (["nowhere", "--data", "photos"], 4, "no checkpoint at nowhere"),
        (["tower", "--data", "photos", "--gpus", "4096"], 5, "--gpus 4096"),
    ],
)
def test_faults_of_fine_tuning_have_their_exit_codes(arguments: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(app, ["ft", *arguments, "--json"])
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert json.loads(result.stdout)["error"]["exit_code"] == code
    assert not list(Path().rglob("checkpoints"))
