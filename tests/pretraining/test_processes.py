"""Runs with all that a recipe can turn on: on one process and two, stopped and resumed, opened by others."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from catlipctl import checkpoints, transfer
from catlipctl.data.batch import Batch, Step
from catlipctl.errors import CheckpointError, Stopped, UsageError
from catlipctl.labels import targets
from catlipctl.objectives import OBJECTIVES
from catlipctl.pretraining import pretrain
from catlipctl.settings.losses import SuperclassSettings
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.learner import Learner
from catlipctl.training.report import read_metrics

TINY_VIT = {"embed_dim": 24, "depth": 2, "num_heads": 2, "drop_path_rate": 0.2}
TEXT = {"width": 16, "heads": 2, "layers": 1, "context_length": 9}

# Each is merged into the tiny recipe. Steps of 16 images of 32 px and 4 of 64 px in pieces of 8 and 2: one
# process takes the very pieces that two do, and with them their draws.
DROPPING = {"token_drop": 0.5, "unmasked_tuning": 0.25}
EVERYTHING = {
    "model": {"name": "vit_tiny_patch16_224", "image_size": 32, "model_args": TINY_VIT, **DROPPING},
    "global_batch_size": 16,
    "device_batch_size": 8,
    "sizes": {"min": 32, "max": 64, "scales": 2},
    "range_augment": {},
    "ema": {"momentum": 0.2},
    "activation_checkpointing": True,
}
NINE = {"global_batch_size": 9, "device_batch_size": 1}
CLIP = {
    "objective": "clip",
    "vocabulary": {},
    "model": {"name": "test_vit", "image_size": 160, **DROPPING},
    "clip": {"embed_dim": 8, "text": TEXT},
    "range_augment": {},
    "ema": {"momentum": 0.2},
    "global_batch_size": 7,
    "length": {"steps": 5},
}
SIGLIP = {**CLIP, "objective": "siglip", "clip": None, "siglip": CLIP["clip"]}
SUPERCLIP = {key: value for key, value in CLIP.items() if key not in ("clip", "vocabulary")}
SUPERCLIP |= {"objective": "superclip", "superclip": CLIP["clip"]}
SOFTMAX = {"catlip": {"loss": "softmax", "idf": True}, "length": {"steps": 5}}
SUPERCLASS = {
    "objective": "superclass",
    "vocabulary": {},
    "model": {
        "name": "vit_base_patch16_superclass_224",
        "image_size": 32,
        "model_args": {"embed_dim": 16, "depth": 1, "num_heads": 2},
    },
    "global_batch_size": 9,
    "length": {"steps": 5},
}
JOBS = {
    "everything": EVERYTHING,
    "nine": NINE,
    "clip": CLIP,
    "clip in pieces": {**CLIP, "device_batch_size": 1},
    "siglip": SIGLIP,
    "siglip in pieces": {**SIGLIP, "device_batch_size": 1},
    "superclip": SUPERCLIP,
    "superclip in pieces": {**SUPERCLIP, "device_batch_size": 1},
    "softmax": {**NINE, **SOFTMAX},
    "superclass in pieces": {**SUPERCLASS, "device_batch_size": 2},
    "superclass sharded": {**SUPERCLASS, "sharding": "full"},
    "sharded": {**EVERYTHING, "sharding": "full", "save_every": 4},
}


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl")]


def state(run: Path) -> dict[str, Tensor]:
    """All that the newest checkpoint holds."""
    folder = checkpoints.resolve(run)
    return load_file(folder / "model.safetensors") | load_file(folder / "state" / "state.safetensors")


def assert_same_state(one: Path, other: Path) -> None:
    found, wanted = state(one), state(other)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is sent SIGTERM one step before this one (from 0), its last."""
    gradients = Learner.gradients

    def signalled(self: Learner, of: Step, pieces: list[Batch]) -> Any:
        if of.index == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return gradients(self, of, pieces)

    monkeypatch.setattr(Learner, "gradients", signalled)


def stopped_and_resumed(
    recipe: PretrainRecipe, out: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(step, patch)
        with pytest.raises(Stopped, match=f"stopped at step {step + 1}, saved"):
            pretrain(recipe, out=out)
    pretrain(recipe, out=out, resume=True)


@pytest.fixture(params=["vit_tiny_patch16_224", "vit_base_catlip_224"])
def everything(document: dict[str, Any], request: pytest.FixtureRequest) -> PretrainRecipe:
    model = {**EVERYTHING["model"], "name": request.param}  # type: ignore[dict-item]
    return PretrainRecipe.model_validate({**document, **EVERYTHING, "model": model})


def test_with_everything_on_a_run_is_repeatable_and_goes_on_exactly(
    everything: PretrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(everything, out=tmp_path / "whole")
    rows = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    assert {row["size"] for row in rows} == {32, 64}
    assert all(row["range_augment"] > 0 for row in rows)
    stopped_and_resumed(everything, tmp_path / "parts", 3, monkeypatch)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert_same_state(tmp_path / "parts", tmp_path / "whole")


def test_with_everything_on_what_is_saved_is_the_average_and_timm_opens_it(
    everything: PretrainRecipe, tmp_path: Path
) -> None:
    found = pretrain(everything, out=tmp_path / "run")
    raw = {
        name.removeprefix("objective/model."): value
        for name, value in state(tmp_path / "run").items()
        if name.startswith("objective/model.")
    }
    opened = timm.create_model(f"local-dir:{found.checkpoint}", pretrained=True).eval()
    saved = opened.state_dict()
    assert saved.keys() == raw.keys()
    assert not torch.equal(saved["head.weight"], raw["head.weight"])
    images = torch.rand(2, 3, 32, 32)
    tower = checkpoints.load(found.checkpoint).tower
    torch.testing.assert_close(tower.module(images), opened(images), rtol=0, atol=0)
    assert opened.pretrained_cfg["input_size"] == (3, 32, 32)
    assert opened.num_classes == 10


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: Path,
    words: Path,
    in_processes: Callable[..., list[int]],
) -> Path:
    """Each job on two processes in `JOB/2`, and on one in `JOB/1`."""
    folder = tmp_path_factory.mktemp("runs")
    base = {
        "model": {"name": "vit_tiny_patch16_224", "image_size": 32, "model_args": TINY_VIT},
        "data": {"sources": [str(pairs)]},
        "vocabulary": {"path": str(words)},
        "global_batch_size": 10,
        "length": {"steps": 8},
        "optimiser": {"lr": 3e-3},
        "schedule": {"warmup_steps": 2},
    }
    jobs = {name: {**base, **changes} for name, changes in JOBS.items()}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    assert in_processes(__file__, folder, ports=len(jobs)) == [0, 0]
    for name, recipe in jobs.items():
        pretrain(PretrainRecipe.model_validate(recipe), out=folder / name / "1")
    return folder


def worker(folder: Path, ports: list[str]) -> None:
    """Each job, in a process group of its own."""
    from accelerate import PartialState

    torch.set_num_threads(1)
    for port, (name, recipe) in zip(
        ports, json.loads((folder / "jobs.json").read_text()).items(), strict=True
    ):
        os.environ["MASTER_PORT"] = port
        PartialState._reset_state()
        pretrain(PretrainRecipe.model_validate(recipe), out=folder / name / "2", cpu=True)


@pytest.mark.parametrize("job", JOBS)
def test_two_processes_have_the_losses_of_one(runs: Path, job: str) -> None:
    one, two = runs / job / "1", runs / job / "2"
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    rows = [read_metrics(run / "metrics.jsonl") for run in (one, two)]
    for key in ("step", "samples", "size", "lr"):
        assert [row[key] for row in rows[0]] == [row[key] for row in rows[1]]
    assert json.loads((checkpoints.resolve(two) / "state" / "state.json").read_text())["processes"] == 2


def test_a_sharded_run_goes_on_in_one_process_that_shards_nothing(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "sharded" / "2", tmp_path / "run")
    written = {path.name for path in (checkpoints.resolve(tmp_path / "run") / "state").iterdir()}
    assert {"state-00000-of-00002.safetensors", "state-00001-of-00002.safetensors"} <= written
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000008")
    recipe = json.loads((runs / "jobs.json").read_text())["sharded"]
    found = pretrain(
        PretrainRecipe.model_validate({**recipe, "sharding": "none"}), out=tmp_path / "run", resume=True
    )
    assert losses(tmp_path / "run") == pytest.approx(losses(runs / "sharded" / "1"), rel=1e-5)
    opened = timm.create_model(f"local-dir:{found.checkpoint}", pretrained=True)
    assert opened.num_classes == 10


@pytest.mark.parametrize("name", ["clip", "siglip", "superclip"])
def test_contrast_in_pieces_has_the_losses_of_one_batch(runs: Path, name: str) -> None:
    assert losses(runs / f"{name} in pieces" / "1") == pytest.approx(losses(runs / name / "1"), rel=1e-5)
    assert (runs / name / "1" / "vocabulary.json").exists() == (name == "superclip")


def test_superclass_counts_a_step_once_however_it_is_taken(runs: Path) -> None:
    """By one process or two, in pieces or whole, sharded or not."""
    first, *others = (runs / job / ranks for job in JOBS if "superclass" in job for ranks in "12")
    wanted = state(first)
    assert wanted["objective/idf.steps"].item() == 5
    assert wanted["objective/idf.frequency"].max().item() == pytest.approx(5, abs=1e-12)
    for run in others:
        assert losses(run) == pytest.approx(losses(first), rel=1e-5)
        for name in ("frequency", "steps", "smoothing"):
            assert torch.equal(state(run)[f"objective/idf.{name}"], wanted[f"objective/idf.{name}"]), name


def test_superclass_goes_on_exactly_with_its_counts(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = PretrainRecipe.model_validate({**document, **SUPERCLASS, "device_batch_size": 4})
    pretrain(recipe, out=tmp_path / "whole")
    stopped_and_resumed(recipe, tmp_path / "parts", 2, monkeypatch)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert_same_state(tmp_path / "parts", tmp_path / "whole")
    about = checkpoints.inspect(tmp_path / "whole")
    assert (about.classes, about.problem_type) == (49_408, "single_label_classification")
    changed = recipe.model_copy(update={"superclass": SuperclassSettings(idf=False)})
    with pytest.raises(UsageError, match=r"superclass\.idf.*counts of labels are a part"):
        pretrain(changed, out=tmp_path / "parts", resume=True, allow_changes=True)


@pytest.mark.parametrize(("sections", "most"), [(CLIP, None), (CLIP, 3), (SIGLIP, 3), (SUPERCLIP, 3)])
def test_contrast_goes_on_exactly(
    document: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    most: int | None,
) -> None:
    recipe = PretrainRecipe.model_validate({**document, **sections, "device_batch_size": most})
    pretrain(recipe, out=tmp_path / "whole")
    stopped_and_resumed(recipe, tmp_path / "parts", 2, monkeypatch)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert_same_state(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("sections", [CLIP, SIGLIP, SUPERCLIP], ids=["clip", "siglip", "superclip"])
def test_open_clip_opens_both_towers_of_the_average(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any]
) -> None:
    kept: dict[str, Any] = {}
    weights = Learner.weights

    kind = OBJECTIVES[sections["objective"]]

    class Kept(kind):  # type: ignore[valid-type, misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept["objective"] = self

    def last(self: Learner) -> dict[str, Tensor]:
        kept["weights"] = {name: value.clone() for name, value in weights(self).items()}
        return weights(self)

    monkeypatch.setitem(OBJECTIVES, sections["objective"], Kept)
    monkeypatch.setattr(Learner, "weights", last)
    found = pretrain(PretrainRecipe.model_validate({**document, **sections}), out=tmp_path / "run")
    objective = kept["objective"].eval()
    objective.load_state_dict(kept["weights"])
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{found.checkpoint}")
    images = torch.rand(3, 3, 160, 160)
    tokens = open_clip.tokenize(["a dog", "two cats", ""], TEXT["context_length"])
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(images), objective.embedded(images))
        torch.testing.assert_close(model.encode_text(tokens), objective.text(tokens))
        for name, value in objective.named_parameters():
            if value.ndim == 0 and not name.startswith("range_augment"):
                torch.testing.assert_close(model.get_parameter(name), value)


@pytest.mark.parametrize("sections", [CLIP, {"length": {"steps": 5}}], ids=["clip", "catlip"])
def test_two_captions_that_are_one_have_its_losses(
    document: dict[str, Any], tmp_path: Path, sections: dict[str, Any]
) -> None:
    found = []
    for captions in ({"use": "one"}, {"use": "each", "weights": [3, 1]}):
        data = {**document["data"], "caption_keys": ["txt", "txt"], "captions": captions}
        out = tmp_path / captions["use"]  # type: ignore[operator]
        pretrain(PretrainRecipe.model_validate({**document, **sections, "data": data}), out=out)
        found.append(losses(out))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_text_tower_reads_a_number_of_captions_that_is_said(document: dict[str, Any]) -> None:
    data = {**document["data"], "captions": {"use": "each"}}
    with pytest.raises(ValidationError, match=r"give data\.captions\.weights, one for each caption"):
        PretrainRecipe.model_validate({**document, **CLIP, "data": data})
    assert not PretrainRecipe.model_validate({**document, "data": data}).one_caption


def test_a_clip_run_is_used_without_a_vocabulary(document: dict[str, Any], tmp_path: Path) -> None:
    found = pretrain(
        PretrainRecipe.model_validate({**document, **CLIP, "length": {"steps": 1}}), out=tmp_path / "run"
    )
    assert found.vocabulary_size is None
    assert found.unlabelled_share is None
    about = checkpoints.inspect(tmp_path / "run")
    assert (about.vocabulary, about.classes, about.resumable) == (None, 8, True)
    assert about.about["objective"] == "clip"
    assert not list((tmp_path / "run").rglob("vocabulary.json"))
    with pytest.raises(CheckpointError, match="nothing says what its rows mean"):
        transfer.transfer_init(checkpoints.load(tmp_path / "run"), targets.load("cifar10"))


if __name__ == "__main__":
    worker(Path(sys.argv[1]), sys.argv[2:])
