import io
import json
import math
import os
import shutil
import signal
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from pydantic import ValidationError

from catlipctl import checkpoints, data, labels, vocabulary
from catlipctl.data.batch import Batch
from catlipctl.errors import CatlipctlError, DataError, NonFiniteLoss, OutOfMemory, Stopped, UsageError
from catlipctl.labels import targets
from catlipctl.objectives import OBJECTIVES, Catlip, Output
from catlipctl.pretraining import pretrain
from catlipctl.pretraining.dry_run import dry_run
from catlipctl.progress import Silent
from catlipctl.recipe import Loaded
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import loop
from catlipctl.training.directory import RunDirectory
from catlipctl.training.report import read_metrics


def changed(document: dict[str, Any], **sections: Any) -> PretrainRecipe:
    return PretrainRecipe.model_validate({**document, **sections})


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(checkpoints.resolve(run) / "model.safetensors")


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """An objective that has its run stop at a step, by a scheduler's signal in the one before."""
    at = {"step": -1, "seen": 0}

    class Stopping(Catlip):
        def prepare(self, step: object, pieces: object) -> None:  # noqa: ARG002
            at["seen"] += 1
            if at["seen"] == at["step"] - 1:
                os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setitem(OBJECTIVES, "catlip", Stopping)
    return at


def test_a_run_is_repeatable_and_its_files_say_what_happened(recipe: PretrainRecipe, tmp_path: Path) -> None:
    result = pretrain(recipe, out=tmp_path / "one")
    pretrain(recipe, out=tmp_path / "two")
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    rows = read_metrics(tmp_path / "one" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["samples"] for row in rows] == list(range(10, 90, 10))
    assert rows[5]["epoch"] == 1.0
    told = losses(tmp_path / "one")
    assert (result.first_loss, result.final_loss) == (told[0], told[-1])
    assert told[-1] < told[0]
    assert (result.steps, result.samples, result.vocabulary_size) == (8, 80, 10)
    assert json.loads((tmp_path / "one" / "exit.json").read_text())["exit_code"] == 0
    timm.create_model(f"local-dir:{result.checkpoint}", pretrained=True)


def test_the_first_loss_is_v_ln_2_where_the_head_says_nothing(
    document: dict[str, Any], tmp_path: Path
) -> None:
    document["model"]["model_args"]["weight_init"] = "jax"  # the head's weight and bias start at 0
    pretrain(changed(document, length={"steps": 1}), out=tmp_path / "run")
    assert losses(tmp_path / "run")[0] == pytest.approx(10 * 0.6931472, rel=1e-6)


def test_at_the_log_odds_the_first_loss_is_that_of_the_counted_shares(
    document: dict[str, Any], tmp_path: Path
) -> None:
    """Each of the ten words was counted 9 times over 60 captions."""
    document["model"]["model_args"]["weight_init"] = "jax"
    document["model"]["head_bias"] = "log-odds"
    pretrain(changed(document, length={"steps": 1}), out=tmp_path / "run")
    (row,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    share = 9.5 / 61
    expected = -(row["labels"] * math.log(share) + (10 - row["labels"]) * math.log(1 - share))
    assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_an_epoch_of_captions_is_as_long_as_there_are_distinct_ones(
    document: dict[str, Any], pairs: Path, tmp_path: Path
) -> None:
    distinct = len(set(data.open_source(pairs).captions()))
    assert distinct < 60
    document["data"]["epoch_of"] = "captions"
    result = pretrain(
        changed(document, length={"epochs": 2}, global_batch_size=distinct), out=tmp_path / "run"
    )
    assert (result.steps, result.samples) == (2, 2 * distinct)
    assert [row["epoch"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1.0, 2.0]
    longer = changed(document, length={"epochs": 3}, global_batch_size=distinct)
    planned = dry_run(Loaded(longer, defaultdict(str)))
    assert planned.images == 3 * distinct
    # Shards in a window cannot show captions of other shards.
    with pytest.raises(ValidationError, match="an epoch of captions"):
        changed(document, data={**document["data"], "window": 1})


@pytest.mark.parametrize("momentum", [None, "fit"])
@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_a_stopped_run_goes_on_exactly(
    document: dict[str, Any],
    tmp_path: Path,
    stopping: dict[str, int],
    momentum: str | None,
    tower: str,
) -> None:
    if tower == "resnet":
        document["model"] = {"name": "test_resnet", "image_size": 32}
    recipe = changed(document, ema={"momentum": momentum})
    pretrain(recipe, out=tmp_path / "whole")
    stopping.update(step=3, seen=0)
    with pytest.raises(Stopped) as caught:
        pretrain(recipe, out=tmp_path / "parts")
    assert caught.value.exit_code == 75
    assert json.loads((tmp_path / "parts" / "exit.json").read_text())["exit_code"] == 75
    assert len(losses(tmp_path / "parts")) == 3
    # A line that a killed process tore, and a whole one from a step that was not saved.
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "samples": 32, "loss": 9}\n{"step": 5, "lo')
    stopping.update(step=2, seen=0)
    with pytest.raises(Stopped):
        pretrain(recipe, out=tmp_path / "parts", resume=True)
    pretrain(recipe, out=tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "parts")[name], value), name


def test_resuming_a_complete_run_returns_its_result(recipe: PretrainRecipe, tmp_path: Path) -> None:
    before = pretrain(recipe, out=tmp_path / "run", resume=True)
    assert pretrain(recipe, out=tmp_path / "run", resume=True) == before


def test_accumulation_changes_no_loss(document: dict[str, Any], tmp_path: Path) -> None:
    pretrain(changed(document), out=tmp_path / "one")
    pretrain(changed(document, device_batch_size=4), out=tmp_path / "four")
    assert losses(tmp_path / "four") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_changed_recipe_is_not_resumed(
    document: dict[str, Any], tmp_path: Path, stopping: dict[str, int]
) -> None:
    stopping.update(step=2, seen=0)
    with pytest.raises(Stopped):
        pretrain(changed(document), out=tmp_path / "run")
    with pytest.raises(UsageError, match=r"length.steps: 8 in .*, 9 now"):
        pretrain(changed(document, length={"steps": 9}), out=tmp_path / "run", resume=True)
    pretrain(changed(document, log_every=3, save_every=2), out=tmp_path / "run", resume=True)
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 6, 8]


def test_a_run_is_never_overwritten_and_never_shared(recipe: PretrainRecipe, tmp_path: Path) -> None:
    pretrain(recipe, out=tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(UsageError) as caught:
        pretrain(recipe, out=tmp_path / "run")
    assert "--resume" in caught.value.hint
    assert "--out" in caught.value.hint
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    other = RunDirectory(tmp_path / "run")
    assert other.lock()
    with pytest.raises(UsageError, match="in use"):
        pretrain(recipe, out=tmp_path / "run", resume=True)
    other.release()


def test_runs_without_out_are_numbered(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = changed(document, length={"steps": 1})
    runs = [pretrain(recipe, name="demo").run for _ in range(3)]
    assert runs == ["runs/demo", "runs/demo-2", "runs/demo-3"]
    assert pretrain(recipe, name="demo", resume=True).run == "runs/demo-3"


def test_one_step_that_is_nan_is_skipped_and_the_third_in_a_row_ends_the_run(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Catlip):
        def forward(self, batch: Batch) -> Output:
            output = super().forward(batch)
            bad = batch.step.start in (10, 20, 40, 50, 60)
            return output._replace(loss=output.loss * float("nan")) if bad else output

    monkeypatch.setitem(OBJECTIVES, "catlip", Failing)
    told = Told()
    with pytest.raises(
        NonFiniteLoss, match="at step 7, and in the 2 steps before it: in batches with samples"
    ) as caught:
        pretrain(recipe, out=tmp_path / "run", progress=told)
    assert caught.value.exit_code == 6
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 6
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["skipped"] for row in rows] == [0, 1, 2, 2, 3, 4, 5]
    assert [row["step"] for row in rows if row["loss"] is None] == [2, 3, 5, 6, 7]
    skipped = [warning for warning in told.warnings if "non-finite" in warning]
    assert [warning.split(":")[0].split()[-1] for warning in skipped] == ["2", "3", "5", "6"]


def test_a_start_that_failed_leaves_the_directory_usable(document: dict[str, Any], tmp_path: Path) -> None:
    missing = changed(document, data={"sources": [str(tmp_path / "nowhere")]})
    with pytest.raises(DataError):
        pretrain(missing, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 3
    pretrain(changed(document, length={"epochs": 0.5}), out=tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 3


def without_its_first_pair(pairs: Path, path: Path) -> None:
    with tarfile.open(pairs) as before, tarfile.open(path, "w") as after:
        for member in before.getmembers()[2:]:
            after.addfile(member, before.extractfile(member))


def in_another_order(pairs: Path, path: Path) -> None:
    with tarfile.open(pairs) as before, tarfile.open(path, "w") as after:
        members = before.getmembers()
        for member in [*members[60:], *members[:60]]:
            after.addfile(member, before.extractfile(member))


@pytest.mark.parametrize(
    ("change", "now"), [(without_its_first_pair, "59 samples"), (in_another_order, "60 samples")]
)
def test_a_run_is_not_resumed_over_other_data(
    document: dict[str, Any], pairs: Path, tmp_path: Path, stopping: dict[str, int], change: Any, now: str
) -> None:
    source = tmp_path / "pairs.tar"
    shutil.copyfile(pairs, source)
    recipe = changed(document, data={"sources": [str(source)]})
    stopping.update(step=2, seen=0)
    with pytest.raises(Stopped):
        pretrain(recipe, out=tmp_path / "run")
    change(pairs, source)
    with pytest.raises(DataError, match=rf"60 samples \(content .*\) before, {now} \(content .*\) now"):
        pretrain(recipe, out=tmp_path / "run", resume=True)
    # The same bytes again, written at another time.
    shutil.copyfile(pairs, source)
    assert pretrain(recipe, out=tmp_path / "run", resume=True).steps == 8


def test_a_changed_micro_batch_is_warned_of_where_there_is_batchnorm(
    document: dict[str, Any], tmp_path: Path, stopping: dict[str, int]
) -> None:
    for name, expected in (("test_resnet", 1), ("test_vit", 0)):
        told = Told()
        document["model"] = {"name": name, "image_size": 160 if name == "test_vit" else 32}
        stopping.update(step=2, seen=0)
        with pytest.raises(Stopped):
            pretrain(changed(document, length={"steps": 3}), out=tmp_path / name)
        again = changed(document, length={"steps": 3}, device_batch_size=5)
        pretrain(again, out=tmp_path / name, resume=True, progress=told)
        assert sum("BatchNorm" in warning for warning in told.warnings) == expected


class Told(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_a_persons_recipe_is_never_overwritten(recipe: PretrainRecipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("# mine\n")
    for resume in (False, True):
        with pytest.raises(UsageError, match=r"holds a recipe.yaml that no run wrote"):
            pretrain(recipe, out=tmp_path, resume=resume)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"recipe.yaml": "# mine\n"}


def test_what_a_killed_write_leaves_is_no_start(recipe: PretrainRecipe, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    for name in ("recipe.yaml", ".recipe.yaml.0123abcd.tmp", ".vocabulary.json.0123abcd.tmp"):
        (tmp_path / name).write_text("{")
    assert pretrain(recipe, out=tmp_path).steps == 8


def test_the_newest_run_is_resumed_over_a_gap(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = changed(document, length={"steps": 1})
    for out in ("demo", "demo-2", "demo-10", "demo-large-99"):
        pretrain(recipe, out=Path("runs") / out)
    shutil.rmtree("runs/demo-2")
    (tmp_path / "runs" / "demo-11").mkdir()
    assert pretrain(recipe, name="demo", resume=True).run == "runs/demo-10"


def test_memory_that_is_not_there_is_told_with_what_to_set(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Greedy(Catlip):
        def forward(self, batch: Batch) -> Output:
            torch.empty(1 << 55).sum()
            return super().forward(batch)

    monkeypatch.setitem(OBJECTIVES, "catlip", Greedy)
    with pytest.raises(
        OutOfMemory, match=r"out of memory with 10 images on cpu \(peak [0-9.]+ GiB resident\)"
    ) as caught:
        pretrain(recipe, out=tmp_path / "run", cpu=True)
    assert "--set device_batch_size=5" in caught.value.hint
    assert "--set activation_checkpointing=true" in caught.value.hint
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["exit_code"] == 7


@pytest.mark.parametrize(
    ("sections", "error"),
    [
        ({"model": {"name": "resnet10t", "model_args": {"block_sizes": 3}}}, UsageError),
        ({"vocabulary": {"path": "nowhere.json"}}, DataError),
        ({"model": {"name": "resnet10t", "head_bias": "log-odds"}, "objective": "clip"}, UsageError),
        ({"model": {"name": "resnet10t", "token_drop": 0.5}}, UsageError),
    ],
)
def test_the_recipe_is_at_fault_before_any_data_is_opened(
    document: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    error: type[Exception],
) -> None:
    monkeypatch.setattr(data, "open_source", lambda *_, **__: pytest.fail("data was opened"))
    with pytest.raises(error):
        pretrain(changed(document, **sections), out=tmp_path / "run")


def test_a_file_and_another_extractor_contradict_each_other(
    document: dict[str, Any], words: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"counted with corenet, and vocabulary\.extractor is subword"):
        pretrain(
            changed(document, vocabulary={"path": str(words), "extractor": "subword"}), out=tmp_path / "run"
        )


def test_stopped_before_the_first_step_nothing_is_said_to_be_saved(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = loop.batches

    def signalled(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return batches(*arguments)

    monkeypatch.setattr(loop, "batches", signalled)
    with pytest.raises(Stopped, match="before the first step: nothing to save"):
        pretrain(recipe, out=tmp_path / "run")
    assert checkpoints.latest(tmp_path / "run") is None


def test_images_without_a_label_are_a_share_and_no_fault(
    document: dict[str, Any], words: Path, tmp_path: Path
) -> None:
    few = json.loads(words.read_text())
    few["rows"] = few["rows"][:3]
    (tmp_path / "few.json").write_text(json.dumps(few))
    recipe = changed(document, vocabulary={"path": str(tmp_path / "few.json")}, length={"epochs": 2})
    result = pretrain(recipe, out=tmp_path / "run")
    encoder = vocabulary.Encoder(vocabulary.load(tmp_path / "few.json"))
    source = data.open_source(recipe.data.sources)
    share = sum(not encoder(source[index]) for index in range(60)) / 60
    assert share > 0
    assert result.unlabelled_share == pytest.approx(share, rel=1e-6)
    assert (result.faults, result.replaced) == ({}, 0)


def test_the_first_of_all_processes_to_fail_is_the_one_recorded(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(DataError), run.recording_exit(1):
        raise DataError("the cause")
    with pytest.raises(CatlipctlError, match="process 1: the cause") as caught, run.recording_exit(0):
        raise RuntimeError("connection closed")
    assert caught.value.exit_code == 3
    assert json.loads(run.exit.read_text())["rank"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["exit.json"]


def test_the_loss_that_is_told_is_that_of_the_metrics(document: dict[str, Any], tmp_path: Path) -> None:
    """Of a run so long that a twentieth of its rows is more than one."""
    result = pretrain(changed(document, length={"steps": 40}), out=tmp_path / "run")
    told = losses(tmp_path / "run")
    assert len(set(told)) == 40
    assert (result.first_loss, result.final_loss) == (told[0], told[-1])


def test_the_hint_of_too_few_labels_is_the_recipes_key_and_mends_it(
    document: dict[str, Any], tmp_path: Path
) -> None:
    """150 nouns, each of them twice in all captions."""
    names = [label.name for label in targets.load("imagenet").labels if label.name.isalpha()]
    nouns = [name.lower() for name in names if len(labels.extractor("corenet")(name.lower())) == 1][:150]
    captions = [" ".join(nouns[start : start + 30]) for start in range(0, 150, 30)] * 2
    with tarfile.open(tmp_path / "pairs.tar", "w") as tar:
        for index, caption in enumerate(captions):
            image = io.BytesIO()
            Image.new("RGB", (32, 32), (20 * index, 90, 0)).save(image, "png")
            for ending, content in (("png", image.getvalue()), ("txt", caption.encode())):
                entry = tarfile.TarInfo(f"{index}.{ending}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    document |= {"data": {"sources": [str(tmp_path / "pairs.tar")]}, "vocabulary": {}, "length": {"steps": 1}}
    with pytest.raises(DataError, match="fewer than 100") as refused:
        pretrain(changed(document), out=tmp_path / "run")
    key, _, threshold = refused.value.hint.removeprefix("--set vocabulary.").partition("=")
    assert pretrain(changed(document, vocabulary={key: int(threshold)}), out=tmp_path / "run").steps == 1
