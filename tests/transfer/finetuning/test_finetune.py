"""Fine-tuning on drawn images: what it learns, what it writes, who opens it, and that it goes on exactly."""

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file
from timm.optim import param_groups_layer_decay
from torch import nn

from catlipctl import checkpoints, data, models, transfer
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.data.batch import Batch, Step
from catlipctl.errors import DataError, NonFiniteLoss, Stopped, UsageError
from catlipctl.labels.targets import LabelSet
from catlipctl.objectives import Classification, Output
from catlipctl.pretraining import replay
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.settings.models import ModelSettings
from catlipctl.training import capture
from catlipctl.training.learner import Learner
from catlipctl.training.optimiser import layer_rates
from catlipctl.training.report import read_metrics
from catlipctl.transfer import finetune
from catlipctl.transfer.labelled import labelled_sets


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def sets(folders: Path) -> tuple[Source, Source]:
    train, test = (data.open_source(str(folders / split), need="labels") for split in ("train", "test"))
    return train, test


def recipe(checkpoint: Checkpoint, **changes: Any) -> FinetuneRecipe:
    document = {
        "checkpoint": str(checkpoint.path),
        "sources": ["drawn"],
        "global_batch_size": 10,
        "length": {"epochs": 3},
        "optimiser": {"lr": 3e-3, "weight_decay": 0.05},
        "schedule": {"warmup_steps": 2},
    }
    return FinetuneRecipe.model_validate(document | changes)


def saved(run: str | Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints.resolve(run) / "model.safetensors")


def stopping_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is sent SIGTERM one step before this one (from 0), its last."""
    gradients = Learner.gradients

    def signalled(self: Learner, of: Step, pieces: list[Batch]) -> Any:
        if of.index == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return gradients(self, of, pieces)

    monkeypatch.setattr(Learner, "gradients", signalled)


def test_it_learns_and_others_open_what_it_wrote(
    checkpoint: Checkpoint, sets: tuple[Source, Source], folders: Path, tmp_path: Path
) -> None:
    target = LabelSet("mine", labelled_sets(*sets, None, 0).classes.labels)
    longer = recipe(checkpoint, length={"epochs": 12})
    result = finetune(longer, checkpoint, *sets, target=target, out=tmp_path / "ft")
    assert result.acc1 > 0.8 > 2 * result.majority_share
    assert result.final_loss < result.first_loss
    assert (result.train_images, result.test_images, result.classes, result.steps) == (40, 20, 4, 48)
    assert (result.init, result.weights) == ("transfer", "raw")
    assert sum(result.prior.values()) == 4
    document = json.loads((tmp_path / "ft" / "result.json").read_text())
    assert (document["acc1"], document["recipe"]["layer_decay"]) == (result.acc1, 0.75)
    given = {"checkpoint": str(checkpoint.path), "data": sets[0].name, "test": sets[1].name}
    assert document["inputs"] == {**given, "target": "mine"}
    assert [row["step"] for row in read_metrics(tmp_path / "ft" / "metrics.jsonl")] == list(range(1, 49))
    assert json.loads((tmp_path / "ft" / "exit.json").read_text())["exit_code"] == 0

    # timm alone, with a softmax over its logits, says what `predict` says, and counts the accuracy told.
    tower = timm.create_model(f"local-dir:{result.checkpoint}", pretrained=True).eval()
    assert tower.pretrained_cfg["label_names"] == ["cat", "dog", "spoon", "truck"]
    config = timm.data.resolve_model_data_config(tower)
    transform = timm.data.create_transform(**config)
    paths = sorted((folders / "test").rglob("*.png"))
    with torch.no_grad():
        logits = tower(torch.stack([transform(Image.open(path).convert("RGB")) for path in paths]))
    names = [tower.pretrained_cfg["label_names"][row] for row in logits.argmax(1)]
    right = sum(name == path.parent.name for name, path in zip(names, paths, strict=True))
    assert right / len(paths) == pytest.approx(result.acc1)
    predictions = transfer.predict(checkpoints.load(tmp_path / "ft"), paths, top=4)
    for image, row in zip(predictions.images, logits.softmax(1), strict=True):
        found = {label.label: label.probability for label in image.labels}
        for name, score in zip(tower.pretrained_cfg["label_names"], row.tolist(), strict=True):
            assert found[name] == pytest.approx(score, abs=2e-3)


def test_the_average_is_what_is_evaluated_and_saved(
    checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path
) -> None:
    """A momentum so small that the average stays at the start: its accuracy is not the learned one."""
    frozen = finetune(recipe(checkpoint, ema={"momentum": 1e-9}), checkpoint, *sets, out=tmp_path / "frozen")
    assert frozen.weights == "average"
    start = transfer.finetune(
        recipe(checkpoint, length={"steps": 1}, optimiser={"lr": 1e-12}, schedule={"warmup_lr": 1e-12}),
        checkpoint,
        *sets,
        out=tmp_path / "start",
    )
    assert frozen.acc1 == start.acc1
    for name, value in saved(tmp_path / "start").items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(saved(tmp_path / "frozen")[name], value, rtol=1e-5, atol=1e-6)
    raw = load_file(checkpoints.resolve(tmp_path / "frozen") / "state" / "state.safetensors")
    assert not torch.allclose(raw["objective/model.fc.weight"], saved(tmp_path / "frozen")["fc.weight"])


@pytest.mark.parametrize("changes", [{}, {"ema": {"momentum": 0.2}, "device_batch_size": 4}])
def test_stopped_and_resumed_it_has_the_weights_of_one_run(
    checkpoint: Checkpoint,
    sets: tuple[Source, Source],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    wanted = recipe(checkpoint, evaluate_epochs=1, **changes)
    whole = finetune(wanted, checkpoint, *sets, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopping_at(5, patch)
        with pytest.raises(Stopped, match="stopped at step 6, saved") as caught:
            finetune(wanted, checkpoint, *sets, out=tmp_path / "parts")
    assert caught.value.exit_code == 75
    assert not (tmp_path / "parts" / "result.json").exists()
    parts = finetune(wanted, checkpoint, *sets, out=tmp_path / "parts", resume=True)
    assert [row["step"] for row in whole.history] == [4, 8, 12]
    assert whole.history[-1]["acc1"] == whole.acc1
    same = {"run", "checkpoint", "seconds", "date"}
    assert parts.model_dump(exclude=same) == whole.model_dump(exclude=same)
    assert saved(tmp_path / "parts").keys() == saved(tmp_path / "whole").keys()
    for name, value in saved(tmp_path / "whole").items():
        assert torch.equal(saved(tmp_path / "parts")[name], value), name


def test_a_complete_run_is_told_again(
    checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path
) -> None:
    wanted = recipe(checkpoint, length={"steps": 3})
    first = finetune(wanted, checkpoint, *sets, out=tmp_path / "ft")
    again = finetune(wanted, checkpoint, *sets, out=tmp_path / "ft", resume=True)
    same = {"date"}
    assert again.model_dump(exclude=same) == first.model_dump(exclude=same)


def test_a_random_classifier_is_not_the_priors(
    checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path
) -> None:
    still = {"length": {"steps": 1}, "optimiser": {"lr": 1e-12}, "schedule": {"warmup_lr": 1e-12}}
    head = transfer.transfer_init(checkpoint, labelled_sets(*sets, None, 0).classes)
    found, protocols = {}, {}
    for name, rows in (("transfer", "plain"), ("random", "plain"), ("calibrated", "calibrated")):
        init = "random" if name == "random" else "transfer"
        wanted = recipe(checkpoint, init=init, rows=rows, **still)
        result = finetune(wanted, checkpoint, *sets, out=tmp_path / name)
        assert (result.init, result.rows) == (init, rows if init == "transfer" else None)
        found[name], protocols[name] = saved(tmp_path / name)["fc.weight"], result.protocol
        assert bool(result.prior) == (init == "transfer")
    torch.testing.assert_close(found["transfer"], head.weight, rtol=1e-5, atol=1e-6)
    # Calibrated rows have one length, that of the pre-training head's rows on average.
    length = checkpoint.tower.linear_head().weight.detach().norm(dim=1).mean()
    torch.testing.assert_close(found["calibrated"].norm(dim=1), length.expand(4), rtol=1e-4, atol=0)
    assert not torch.allclose(found["transfer"].norm(dim=1), length.expand(4), rtol=1e-2)
    assert protocols["transfer"] == protocols["random"]
    assert protocols["calibrated"] == f"{protocols['transfer']}, from calibrated rows"
    assert not torch.allclose(found["random"], head.weight, atol=0.1)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t", "vit_base_catlip_224"])
def test_rates_by_layer_are_timms(name: str) -> None:
    arguments = {"embed_dim": 24, "depth": 4, "num_heads": 2} if name.startswith("vit") else {}
    settings = ModelSettings(name=name, image_size=32, model_args=arguments)
    module: Any = models.create(settings, 3).module
    rate = layer_rates(module, 0.6)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    scales = {
        names[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(module, layer_decay=0.6)
        for parameter in group["params"]
    }
    assert scales.keys() == set(names.values())
    assert len(set(scales.values())) > 3
    for parameter, scale in scales.items():
        assert rate(f"model.{parameter}") == pytest.approx(scale, rel=1e-12), parameter
    assert {layer_rates(module, 1.0)(f"model.{name}") for name in scales} == {1.0}


def test_the_optimiser_has_the_rates_and_the_decay(
    checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    update = Learner.update

    def kept(self: Learner, norm: torch.Tensor, rate: float, skipped: torch.Tensor) -> None:
        update(self, norm, rate, skipped)
        names = {id(p): n for n, p in self.objective.named_parameters()}
        seen.append({names[id(p)]: g["lr"] / rate for g in self.optimiser.param_groups for p in g["params"]})

    monkeypatch.setattr(Learner, "update", kept)
    finetune(recipe(checkpoint, length={"steps": 2}), checkpoint, *sets, out=tmp_path / "ft")
    tower = timm.create_model("resnet10t", num_classes=4)
    rate = layer_rates(tower, 0.75)
    for rates in seen:
        assert rates == pytest.approx({f"model.{n}": rate(f"model.{n}") for n, _ in tower.named_parameters()})
    assert seen[0]["model.fc.weight"] == 1.0 > seen[0]["model.layer1.0.conv1.weight"]


def test_a_fifth_of_each_class_is_held_out_where_there_is_no_test(
    checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path
) -> None:
    result = finetune(recipe(checkpoint, length={"steps": 2}), checkpoint, sets[0], None, out=tmp_path / "ft")
    assert (result.train_images, result.test_images) == (32, 8)


def test_what_cannot_be_is_refused(
    checkpoint: Checkpoint,
    sets: tuple[Source, Source],
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("dog", "cat"):
        target = tmp_path / "one" / name / "1.png"
        target.parent.mkdir(parents=True)
        shutil.copy(folders / "train" / name / "01.png", target)
    single = data.open_source(str(tmp_path / "one"), need="labels")
    with pytest.raises(DataError, match="no labelled test image"):
        finetune(recipe(checkpoint), checkpoint, single, None, out=tmp_path / "single")
    wanted = recipe(checkpoint, length={"steps": 6})
    stopping_at(2, monkeypatch)
    with pytest.raises(Stopped):
        finetune(wanted, checkpoint, *sets, out=tmp_path / "ft")
    changed = recipe(checkpoint, length={"steps": 6}, layer_decay=0.5)
    with pytest.raises(UsageError, match=r"layer_decay: 0.75 in .*, 0.5 now"):
        finetune(changed, checkpoint, *sets, out=tmp_path / "ft", resume=True)
    with pytest.raises(DataError, match="the data is not what this run was trained on"):
        finetune(wanted, checkpoint, sets[1], sets[0], out=tmp_path / "ft", resume=True)
    free = recipe(checkpoint, length={"steps": 6}, log_every=2, evaluate_epochs=0.5, sources=["elsewhere"])
    assert finetune(free, checkpoint, *sets, out=tmp_path / "ft", resume=True).steps == 6


def tiny_vit(folder: Path) -> Checkpoint:
    arguments = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    settings = ModelSettings(name="vit_tiny_patch16_224", image_size=32, model_args=arguments)
    torch.manual_seed(0)
    return checkpoints.load(checkpoints.write(folder, tower=models.create(settings, 3), config={}))


def test_a_tower_is_trained_at_a_size_of_its_own_and_many_others(
    sets: tuple[Source, Source], tmp_path: Path
) -> None:
    sizes = {"sizes": {"min": 32, "max": 64, "scales": 3}, "image_size": 48, "length": {"steps": 12}}
    vit = tiny_vit(tmp_path / "vit")
    result = finetune(recipe(vit, crop_pct=1.0, **sizes), vit, *sets, out=tmp_path / "ft")
    rows = read_metrics(tmp_path / "ft" / "metrics.jsonl")
    assert {row["size"] for row in rows} == {32, 48, 64}
    opened = timm.create_model(f"local-dir:{result.checkpoint}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(opened)
    assert (config["input_size"], config["crop_pct"]) == ((3, 48, 48), 1.0)
    assert opened(torch.rand(1, 3, 48, 48)).shape == (1, 4)
    odd = recipe(vit, image_size=40)
    with pytest.raises(UsageError, match="vit_tiny_patch16_224 takes no images of 40 px"):
        finetune(odd, vit, *sets, out=tmp_path / "refused")


def test_ranges_of_augmentation_are_learned_and_not_saved_with_the_tower(
    checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path
) -> None:
    ranges = {"range_augment": {"target_psnr": [40, 20]}, "length": {"steps": 4}}
    finetune(recipe(checkpoint, **ranges), checkpoint, *sets, out=tmp_path / "ft")
    losses = [row["range_augment"] for row in read_metrics(tmp_path / "ft" / "metrics.jsonl")]
    assert all(loss > 0 for loss in losses)
    assert not any("range_augment" in name for name in saved(tmp_path / "ft"))
    state = load_file(checkpoints.resolve(tmp_path / "ft") / "state" / "state.safetensors")
    brightness = state["objective/range_augment.brightness.low"]
    assert brightness != 0.5
    assert brightness == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_a_probe_by_training_moves_the_classifier_alone(
    name: str, checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path
) -> None:
    """Not even BatchNorm's statistics, nor an average of weights that stay."""
    start = checkpoint if name == "resnet" else tiny_vit(tmp_path / "vit")
    before = {key: value.clone() for key, value in start.tower.module.state_dict().items()}
    still = {
        "learns": "classifier",
        "init": "random",
        "global_batch_size": 40,
        "optimiser": {"lr": 0.1, "weight_decay": 0, "clip_norm": None},
        "length": {"steps": 20},
        "ema": {"momentum": "fit"},
    }
    result = finetune(recipe(start, **still), start, *sets, out=tmp_path / "lp")
    assert result.protocol.startswith("linear probe, paper: ")
    assert result.protocol.endswith("20 steps, batch 40, lr 0.1")
    after = saved(tmp_path / "lp")
    head = {"resnet": "fc", "vit": "head"}[name]
    for key, value in before.items():
        assert key.startswith(f"{head}.") or torch.equal(after[key], value), key
    state = load_file(checkpoints.resolve(tmp_path / "lp") / "state" / "state.safetensors")
    assert {key for key in state if "exp_avg" in key} == {
        f"optimiser/model.{head}.{part}/{moment}"
        for part in ("weight", "bias")
        for moment in ("exp_avg", "exp_avg_sq")
    }


def test_maes_probe_is_written_with_its_batch_norm_folded_in(
    sets: tuple[Source, Source], tmp_path: Path
) -> None:
    """timm's tower alone gives the logits of torch's BatchNorm and classifier on its features."""
    start = tiny_vit(tmp_path / "vit")
    mae = {
        "learns": "classifier",
        "classifier_norm": True,
        "init": "random",
        "global_batch_size": 20,
        "optimiser": {"name": "lars", "lr": 0.1, "trust": 0.1, "weight_decay": 0, "clip_norm": None},
        "length": {"steps": 30},
    }
    result = finetune(recipe(start, **mae), start, *sets, out=tmp_path / "lp")
    assert result.protocol.startswith("linear probe, mae: ")
    assert result.protocol.endswith("30 steps, batch 20, lr 0.1")
    assert result.final_loss < result.first_loss
    folder = checkpoints.resolve(tmp_path / "lp")
    state = load_file(folder / "state" / "state.safetensors")
    wanted = nn.Sequential(nn.BatchNorm1d(24, eps=1e-6, affine=False), nn.Linear(24, 4)).eval()
    names = {"0": "norm", "1": "classifier"}
    wanted.load_state_dict({n: state[f"objective/{names[n[0]]}{n[1:]}"] for n in wanted.state_dict()})
    assert not torch.equal(wanted[0].running_var, torch.ones(24))
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        features = opened.forward_head(opened.forward_features(images), pre_logits=True)
        torch.testing.assert_close(opened(images), wanted(features), rtol=1e-4, atol=1e-4)
    before = start.tower.module.state_dict()
    after = saved(tmp_path / "lp")
    assert all(torch.equal(after[name], value) for name, value in before.items() if "head." not in name)
    assert {name for name in state if name.startswith("optimiser/")} == {
        f"optimiser/classifier.{part}/momentum_buffer" for part in ("weight", "bias")
    }
    with pytest.raises(ValidationError, match="classifier_norm is for"):
        recipe(start, **mae | {"init": "transfer"})


def test_a_head_without_a_prior_is_fresh(sets: tuple[Source, Source], tmp_path: Path) -> None:
    """A tower of a CLIP run has no vocabulary: its projection says nothing of classes."""
    made = models.create(ModelSettings(name="resnet10t", image_size=32), 3)
    bare = checkpoints.load(checkpoints.write(tmp_path / "bare", tower=made, config={}))
    result = finetune(recipe(bare, length={"steps": 2}), bare, *sets, out=tmp_path / "ft")
    assert (result.init, result.prior) == ("random", {})
    assert isinstance(checkpoints.load(tmp_path / "ft").tower.head, nn.Linear)


def test_a_step_that_is_not_finite_is_skipped_and_three_in_a_row_end_it(
    checkpoint: Checkpoint, sets: tuple[Source, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {2}
    forward = Classification.forward

    def broken(self: Classification, batch: Batch) -> Output:
        output = forward(self, batch)
        return output._replace(loss=output.loss * math.nan) if batch.step.index in bad else output

    monkeypatch.setattr(Classification, "forward", broken)
    result = finetune(recipe(checkpoint, length={"steps": 4}), checkpoint, *sets, out=tmp_path / "one")
    assert result.steps == 4
    rows = read_metrics(tmp_path / "one" / "metrics.jsonl")
    assert [(row["step"], row["skipped"]) for row in rows] == [(1, 0), (2, 0), (3, 1), (4, 1)]
    assert all(value.isfinite().all() for value in saved(tmp_path / "one").values())
    bad |= {1, 3}
    with pytest.raises(
        NonFiniteLoss, match="the loss became non-finite at step 4, and in the 2 steps"
    ) as caught:
        finetune(recipe(checkpoint, length={"steps": 6}), checkpoint, *sets, out=tmp_path / "three")
    assert "replay" not in caught.value.hint
    assert [step.step for step in capture.read(tmp_path / "three").steps] == [2, 3, 4]
    with pytest.raises(UsageError, match="is no run of pretrain"):
        replay(tmp_path / "three", cpu=True)
