"""Which run `--resume` goes on with, as a person asks for it, and what of its recipe may change."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from catlipctl import checkpoints, vocabulary
from catlipctl.cli.pretrain import pretrain as command
from catlipctl.errors import CheckpointError, Stopped, UsageError
from catlipctl.pretraining import pretrain
from catlipctl.progress import Silent
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.learner import Learner
from catlipctl.training.optimiser import learning_rate
from catlipctl.training.report import read_metrics

from .conftest import starts

app = typer.Typer()
app.command("pretrain")(command)

Start = Callable[..., None]


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def steps(run: Path) -> list[int]:
    return [row["step"] for row in read_metrics(run / "metrics.jsonl")]


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(checkpoints.resolve(run) / "model.safetensors")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]) -> Path:
    """An empty folder with a recipe, my.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(document))
    return tmp_path


@pytest.fixture
def stopped(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Start:
    """Begin a run and stop it, as a scheduler does, after so many steps: by a signal in the last but one."""

    def begin(out: Path | str, step: int = 3, **sections: Any) -> None:
        gradients, taken = Learner.gradients, []

        def signalled(self: Learner, *arguments: Any) -> Any:
            taken.append(0)
            if len(taken) == step - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return gradients(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Learner, "gradients", signalled)
            with pytest.raises(Stopped):
                pretrain(PretrainRecipe.model_validate({**document, **sections}), out=Path(out))

    return begin


def finished(document: dict[str, Any], out: Path | str, **sections: Any) -> None:
    pretrain(PretrainRecipe.model_validate({**document, "length": {"steps": 2}, **sections}), out=Path(out))


def test_resume_alone_goes_on_with_the_newest_unfinished_run(
    here: Path, document: dict[str, Any], stopped: Start
) -> None:
    stopped("runs/old")
    stopped("runs/my")
    finished(document, "runs/newer")
    # A run of fine-tuning, which is no run of pre-training, and a folder of something else.
    shutil.copytree("runs/my", "runs/tuned")
    Path("runs/tuned/recipe.yaml").write_text("checkpoint: runs/my\nsources: [photos]\n")
    Path("runs/notes").mkdir()
    code, _, err = invoke("--resume")
    assert code == 0, err
    assert err.splitlines()[0].startswith("going on with runs/my (the newest unfinished run")
    assert "pretrain: 30/80 images\n" in err
    assert steps(here / "runs" / "my") == list(range(1, 9))
    assert steps(here / "runs" / "old") == [1, 2, 3]
    assert {path.name for path in Path("runs").iterdir()} == {"old", "my", "newer", "tuned", "notes"}
    # The next newest; then none is left, and the newest is told again.
    assert invoke("--resume")[2].startswith("going on with runs/old (")
    code, out, err = invoke("--resume", "--json")
    assert code == 0
    assert json.loads(out)["result"]["run"] == "runs/old"
    assert "the newest run, all are complete" in err.splitlines()[0]
    assert "complete: 8 steps; to lengthen it, add: --out runs/old --allow-recipe-change --set" in err


def test_resume_alone_starts_nothing_where_there_is_no_run(here: Path) -> None:
    code, _, err = invoke("--resume")
    assert code == 2
    assert "no run of pre-training under runs/" in err
    assert "hint: start one: catlipctl pretrain" in err
    assert [path.name for path in here.iterdir()] == ["my.yaml"]


@pytest.mark.parametrize("word", ["runs/other", "runs/other/", "runs/other/recipe.yaml"])
@pytest.mark.parametrize("first", [True, False])
def test_resume_goes_on_with_the_run_that_is_named(
    here: Path, stopped: Start, word: str, first: bool
) -> None:
    stopped("runs/other", length={"steps": 4})
    stopped("runs/newer", length={"steps": 4})
    code, out, err = invoke(*(["--resume", word] if first else [word, "--resume"]), "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["run"] == "runs/other"
    assert steps(here / "runs" / "other") == [1, 2, 3, 4]
    assert {path.name for path in Path("runs").iterdir()} == {"other", "newer"}


def test_a_recipe_that_is_named_must_be_the_runs(here: Path, stopped: Start) -> None:
    # The requeue line: it starts, goes on, and is complete.
    for _ in range(2):
        code, out, err = invoke("my.yaml", "--resume", "--json")
        assert code == 0, err
        assert json.loads(out)["result"]["run"] == "runs/my"
    stopped("runs/my-2")
    stopped("runs/other")
    code, _, err = invoke("my.yaml", "--resume", "--set", "optimiser.lr=0.5")
    assert code == 2
    assert "optimiser.lr: 0.003 in runs/my-2/recipe.yaml, 0.5 now" in err
    assert "--allow-recipe-change" in err
    code, _, err = invoke("my.yaml", "--resume")
    assert code == 0, err
    assert err.splitlines()[0].startswith("going on with runs/my-2 (")
    assert steps(here / "runs" / "my-2") == list(range(1, 9))
    # Refused, told again or gone on with: none of it started another run.
    assert {path.name for path in Path("runs").iterdir()} == {"my", "my-2", "other"}


def test_a_run_in_the_place_of_a_recipe_starts_one_only_by_its_file(
    here: Path, document: dict[str, Any]
) -> None:
    finished(document, "runs/other")
    code, _, err = invoke("runs/other")
    assert code == 2
    assert "catlipctl pretrain runs/other --resume" in err
    code, out, err = invoke("runs/other/recipe.yaml", "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["run"] == "runs/other-2"
    (here / "photos").mkdir()
    assert invoke("photos", "--resume")[0] == 2


def test_a_vocabulary_of_other_classes_is_not_the_runs(here: Path, stopped: Start, words: Path) -> None:
    stopped("runs/my")
    settled = (here / "runs" / "my" / "recipe.yaml").read_text()
    own = vocabulary.load(words)
    replace(own, keys=own.keys[1:], counts=own.counts[1:]).save(here / "other.json")
    code, _, err = invoke("my.yaml", "--resume", "--vocab", "other.json")
    assert code == 2
    assert "other.json holds other classes than the run's vocabulary" in err
    assert (here / "runs" / "my" / "recipe.yaml").read_text() == settled
    # Moved it is the same; gone it is no longer needed.
    own.save(here / "moved.json")
    code, _, err = invoke("my.yaml", "--resume", "--vocab", "moved.json")
    assert code == 0, err
    (here / "moved.json").unlink()
    code, _, err = invoke("runs/my", "--resume")
    assert code == 0, err


@pytest.mark.usefixtures("here")
def test_out_without_a_recipe_is_the_run_there(stopped: Start) -> None:
    stopped("elsewhere", length={"steps": 4})
    stopped("runs/my")
    code, out, err = invoke("--resume", "--out", "elsewhere", "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["steps"] == 4


def test_a_finished_run_is_lengthened(here: Path, document: dict[str, Any]) -> None:
    """As a run of twice the length has its steps, so it goes on: the same samples, in the same order."""
    finished(document, "runs/my", length={"samples": 40})
    longer = ("runs/my", "--resume", "--set", "length.samples=80")
    code, _, err = invoke(*longer)
    assert code == 2
    assert "length.samples: 40 in runs/my/recipe.yaml, 80 now" in err
    assert "naming none: --resume --out runs/my; or by this one: add --allow-recipe-change" in err
    assert yaml.safe_load(Path("runs/my/recipe.yaml").read_text())["length"]["samples"] == 40
    # What was refused has not made a finished run an unfinished one.
    assert "all are complete" in invoke("--resume")[2]
    code, out, err = invoke(*longer, "--allow-recipe-change", "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["steps"] == 8
    rows = read_metrics(here / "runs" / "my" / "metrics.jsonl")
    assert [row["samples"] for row in rows] == list(range(10, 90, 10))
    recipe = PretrainRecipe.model_validate(yaml.safe_load(Path("runs/my/recipe.yaml").read_text()))
    assert recipe.length.samples == 80
    for row in rows:
        total = 4 if row["step"] <= 4 else 8
        expected = learning_rate(row["step"] - 1, total, recipe.optimiser.lr, recipe.schedule)
        assert row["lr"] == pytest.approx(expected)
    begun = starts(here / "runs" / "my")
    assert [row["step"] for row in begun] == [0, 4]
    assert begun[1]["recipe_changes"] == {"length.samples": [40, 80]}
    # The recipe is the run's own now.
    assert invoke("runs/my", "--resume")[0] == 0


def test_a_changed_batch_goes_on_after_the_samples_that_were_seen(
    document: dict[str, Any], stopped: Start, tmp_path: Path
) -> None:
    stopped(tmp_path / "run", 3)
    other = {**document, "global_batch_size": 15, "length": {"samples": 75}}
    recipe = PretrainRecipe.model_validate(other)
    result = pretrain(recipe, out=tmp_path / "run", resume=True, allow_changes=True)
    assert (result.steps, result.samples) == (6, 75)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["samples"] for row in rows] == [10, 20, 30, 45, 60, 75]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": {"name": "test_vit", "image_size": 32}}, "the weights are of this tower"),
        ({"vocabulary": {"max_size": 100}}, "the head has an output for each of its classes"),
        ({"ema": {"momentum": 0.5}}, "the average goes on as it began"),
    ],
)
def test_what_cannot_change_is_refused_with_the_reason(
    document: dict[str, Any], stopped: Start, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    stopped(tmp_path / "run")
    recipe = PretrainRecipe.model_validate({**document, **changes, "log_every": 2})
    with pytest.raises(UsageError, match="cannot change") as refused:
        pretrain(recipe, out=tmp_path / "run", resume=True, allow_changes=True)
    assert why in refused.value.message
    assert "log_every" not in refused.value.message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["my.yaml", "--allow-recipe-change"], "without --resume"),
        (["--resume", "--allow-recipe-change"], "catlipctl pretrain runs/my --resume --allow-recipe-change"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_change_is_of_a_run_that_is_named(
    document: dict[str, Any], arguments: list[str], says: str
) -> None:
    finished(document, "runs/my")
    code, _, err = invoke(*arguments)
    assert code == 2
    assert says in err


def test_each_start_is_a_row(document: dict[str, Any], stopped: Start, tmp_path: Path) -> None:
    stopped(tmp_path / "run", 3)
    recipe = PretrainRecipe.model_validate(document)
    pretrain(recipe, out=tmp_path / "run", resume=True)
    pretrain(recipe, out=tmp_path / "run", resume=True)  # complete: nothing starts
    rows = starts(tmp_path / "run")
    assert [row["step"] for row in rows] == [0, 3]
    for row in rows:
        assert row.keys() >= {"time", "command", "step", "processes", "machine", "versions"}
        assert row["steps"] == 8
        assert row["peak"] is None, "of a CPU nobody publishes one"
        assert row["processes"] == 1
        assert row["command"] == [Path(sys.argv[0]).name, *sys.argv[1:]]
        assert row["machine"]["cores"] == os.cpu_count()


class Told(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def damaged_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text("{")


def no_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def other_weights(checkpoint: Path) -> None:
    """As many bytes as the manifest says, but others."""
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damaged_manifest, no_manifest, other_weights])
def test_a_damaged_checkpoint_is_passed_over_with_a_word(
    document: dict[str, Any], stopped: Start, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Up to the one before it, from which the run has the weights of one that was never stopped."""
    sections = {"save_every": 2}
    recipe = PretrainRecipe.model_validate({**document, **sections})
    pretrain(recipe, out=tmp_path / "whole")
    run, told = tmp_path / "run", Told()
    stopped(run, 6, **sections)
    damage(run / "checkpoints" / "step-00000006")
    pretrain(recipe, out=run, resume=True, progress=told)
    [warning] = told.warnings
    assert "going on from step-00000004" in warning
    assert "step-00000006" in warning
    for step in (6, 8):
        checkpoints.verify(run / "checkpoints" / f"step-{step:08d}")
    assert steps(run) == list(range(1, 9))
    expected = weights(tmp_path / "whole")
    assert all(value.equal(expected[name]) for name, value in weights(run).items())


def test_with_no_whole_checkpoint_nothing_is_begun_anew(
    document: dict[str, Any], stopped: Start, tmp_path: Path
) -> None:
    stopped(tmp_path / "run", 3)
    damaged_manifest(tmp_path / "run" / "checkpoints" / "step-00000003")
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    with pytest.raises(CheckpointError, match=r"no checkpoint of .* is whole: .*step-00000003") as refused:
        pretrain(PretrainRecipe.model_validate(document), out=tmp_path / "run", resume=True)
    assert "another directory by --out" in refused.value.hint
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 4


def test_a_dry_run_reads_no_other_run(here: Path, document: dict[str, Any]) -> None:
    finished(document, "runs/my")
    code, _, err = invoke("my.yaml", "--dry-run", "--vocab", "nosuch.json")
    assert code == 3
    assert "nosuch.json" in err
    assert invoke("my.yaml", "--vocab", "nosuch.json")[0] == 3
    # The first free number is the next run's, and its classes are not those of runs/my.
    (here / "my.yaml").write_text(yaml.safe_dump({**document, "vocabulary": {"max_size": 5}}))
    code, out, err = invoke("my.yaml", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["vocabulary_size"] == 5


@pytest.mark.usefixtures("here")
def test_a_dry_run_of_a_resume_refuses_what_the_resume_refuses(stopped: Start) -> None:
    run = Path("runs/my")
    stopped(run)
    whole = run / "checkpoints" / "step-00000003"
    manifest, own = whole / "manifest.json", run / "vocabulary.json"
    for file, code in ((manifest, 4), (own, 3)):
        content = file.read_text()
        file.write_text("{")
        for dry in (["--dry-run"], []):
            found, _, err = invoke("runs/my", "--resume", *dry)
            assert (found, str(run) in err) == (code, True), err
        file.write_text(content)


@pytest.mark.usefixtures("here")
def test_a_dry_run_of_a_resume_tells_what_remains(stopped: Start) -> None:
    code, out, err = invoke("my.yaml", "--dry-run", "--json")
    assert code == 0, err
    whole = json.loads(out)["result"]
    stopped("runs/my")
    code, out, err = invoke("runs/my", "--resume", "--dry-run", "--json")
    assert code == 0, err
    rest = json.loads(out)["result"]
    assert (rest["steps"], rest["steps_before"], rest["images"]) == (8, 3, 80)
    assert rest["flops"] == pytest.approx(whole["flops"] * 5 / 8)
    assert "3 steps are done, 5 remain" in invoke("runs/my", "--resume", "--dry-run")[1]
    # A larger batch: 30 images are behind it, and 100 are to be seen in all.
    longer = ["--set", "length={samples: 100}", "--set", "global_batch_size=35", "--allow-recipe-change"]
    code, out, err = invoke("runs/my", "--resume", "--dry-run", "--json", *longer)
    assert code == 0, err
    assert (json.loads(out)["result"]["steps"], json.loads(out)["result"]["images"]) == (5, 100)


def test_the_newest_checkpoints_that_are_kept_stay_and_every_nth(
    document: dict[str, Any], tmp_path: Path, after_saves: list[list[str]]
) -> None:
    settings = {"save_every": 1, "keep_last": 2, "keep_every": 3, "length": {"steps": 7}}
    pretrain(PretrainRecipe.model_validate({**document, **settings}), out=tmp_path / "run")
    last = [[name[-1] for name in names] for names in after_saves]
    assert last == [
        ["1"],
        ["1", "2"],
        ["2", "3"],
        ["3", "4"],
        ["3", "4", "5"],
        ["3", "5", "6"],
        ["3", "6", "7"],
    ]
    left = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert left == ["latest", "step-00000003", "step-00000006", "step-00000007"]
    assert checkpoints.latest(tmp_path / "run") == tmp_path / "run" / "checkpoints" / "step-00000007"
    with pytest.raises(ValidationError, match="keep_every: 3 is no multiple of save_every"):
        PretrainRecipe.model_validate({**document, "save_every": 2, "keep_every": 3})


def test_a_run_that_was_set_back_loses_no_later_checkpoint(document: dict[str, Any], tmp_path: Path) -> None:
    recipe = PretrainRecipe.model_validate({**document, "save_every": 2, "length": {"steps": 8}})
    pretrain(recipe, out=tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    (folder / "latest").write_text("step-00000002\n")
    kept = recipe.model_copy(update={"keep_last": 1, "length": recipe.length.model_copy(update={"steps": 4})})
    pretrain(kept, out=tmp_path / "run", resume=True, allow_changes=True)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["latest", "step-00000004", "step-00000006", "step-00000008"]


def test_a_start_that_fails_leaves_no_directory_of_its_own(here: Path, document: dict[str, Any]) -> None:
    finished(document, "runs/my")
    code, _, _ = invoke("my.yaml", "--data", "nowhere")
    assert code == 3
    assert [path.name for path in (here / "runs").iterdir()] == ["my"]
    # In one that was named, the code stands for a launcher that does not hand it on.
    assert invoke("my.yaml", "--data", "nowhere", "--out", "named")[0] == 3
    assert json.loads(Path("named/exit.json").read_text())["exit_code"] == 3


def test_a_length_that_is_behind_the_run_is_refused(here: Path, document: dict[str, Any]) -> None:
    finished(document, "runs/my", length={"samples": 40})
    shorter = ("--set", "length.samples=16", "--allow-recipe-change")
    code, _, err = invoke("runs/my", "--resume", *shorter)
    assert code == 2
    assert "runs/my is past the new length: it has had" in err
    assert yaml.safe_load((here / "runs/my/recipe.yaml").read_text())["length"]["samples"] == 40


@pytest.mark.usefixtures("here")
def test_a_run_that_is_not_there_is_told_as_one() -> None:
    code, _, err = invoke("runs/nosuch", "--resume")
    assert (code, err.splitlines()[0]) == (2, "error: no run and no recipe at runs/nosuch")


@pytest.mark.usefixtures("here")
def test_a_read_only_directory_is_told(small_disk: Callable[[int], Path], stopped: Start) -> None:
    disk = small_disk(16)
    stopped(disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for arguments in (["my.yaml", "--out", disk / "other"], ["--resume", "--out", disk / "run"]):
        code, _, err = invoke(*arguments)
        assert code == 1
        assert f"error: {disk}/" in err
        assert "Read-only file system" in err


def test_a_corrupted_shard_costs_its_samples_or_by_strict_the_run(here: Path, pairs: Path) -> None:
    content = pairs.read_bytes()
    (here / "cut.tar").write_bytes(content[: len(content) // 2 + 300])
    code, out, err = invoke("my.yaml", "--data", "cut.tar", "--out", "whole", "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["faults"]["truncated shard"] == 1
    code, out, err = invoke("my.yaml", "--data", "cut.tar", "--out", "strict", "--strict", "--json")
    assert code == 3
    assert "cut.tar" in json.loads(out)["error"]["message"]
    assert json.loads((here / "strict" / "exit.json").read_text())["exit_code"] == 3


def test_clocks_go_on_and_other_threads_are_told(
    document: dict[str, Any], stopped: Start, tmp_path: Path
) -> None:
    run, told = tmp_path / "run", Told()
    stopped(run, 3)
    before = read_metrics(run / "metrics.jsonl")
    torch.set_num_threads(2)
    pretrain(PretrainRecipe.model_validate(document), out=run, resume=True, progress=told)
    rows = read_metrics(run / "metrics.jsonl")
    assert rows[: len(before)] == before
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    state = json.loads((checkpoints.resolve(run) / "state" / "state.json").read_text())
    assert state["totals"]["seconds"] == pytest.approx(seconds[-1], abs=1e-3)
    assert state["threads"] == 2
    assert [warning for warning in told.warnings if "threads" in warning] == [
        "the run had 1 threads, now 2: losses may differ in the last digits"
    ]
