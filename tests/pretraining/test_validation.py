"""A run measured on held-out pairs: what is measured, by whom, and that training does not notice."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score
from torch import Tensor

from catlipctl import checkpoints, data, vocabulary
from catlipctl.data.batch import share
from catlipctl.pretraining import pretrain
from catlipctl.pretraining.checks import Place
from catlipctl.pretraining.dry_run import dry_run
from catlipctl.pretraining.validation import Portions
from catlipctl.recipe import Loaded
from catlipctl.recipe.schema import leaves
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.report import Row, read_metrics

TINY_VIT = {"embed_dim": 24, "depth": 2, "num_heads": 2, "drop_path_rate": 0.2}
RESNET = {"model": {"name": "resnet10t", "image_size": 32}, "ema": {"momentum": 0.2}, "range_augment": {}}
CLIP = {
    "objective": "clip",
    "vocabulary": {},
    "model": {"name": "test_vit", "image_size": 160},
    "clip": {"embed_dim": 8, "text": {"width": 16, "heads": 2, "layers": 1, "context_length": 9}},
    "ema": {"momentum": 0.2},
    "global_batch_size": 7,
    "length": {"steps": 4},
}
JOBS = {
    "catlip": {"ema": {"momentum": 0.2}},
    "clip": CLIP,
    "sharded": {"ema": {"momentum": 0.2}, "sharding": "full"},
}


def evaluations(run: Path) -> list[dict[str, Any]]:
    return read_metrics(run / "evaluations.jsonl", Row)


@pytest.fixture(scope="module")
def held_out(pairs: Path) -> dict[str, Any]:
    """37 of 60 pairs in batches of at most 8: five, of 7 or 8."""
    return {"sources": [str(pairs)], "every": 3, "samples": 37, "batch": 8}


def recipe(document: dict[str, Any], *changes: dict[str, Any]) -> PretrainRecipe:
    return PretrainRecipe.model_validate({k: v for part in (document, *changes) for k, v in part.items()})


@given(samples=st.integers(1, 60), batch=st.integers(1, 20), world=st.integers(1, 5))
def test_every_sample_is_in_one_batch_and_all_processes_take_as_many(
    samples: int, batch: int, world: int
) -> None:
    each = [Portions(samples, batch, rank, world) for rank in range(world)]
    assert len({len(portions.own()) for portions in each}) == 1
    values = torch.full((world, len(each[0].own()), each[0].largest), -1)
    for rank, portions in enumerate(each):
        for turn, number in enumerate(portions.own()):
            rows = portions[number]
            assert 0 < len(rows) <= batch
            values[rank, turn, : len(rows)] = torch.tensor(rows)
    assert each[0].by_sample(values).tolist() == list(range(samples))


@pytest.mark.parametrize("changes", [RESNET, {"model": {"name": "vit_tiny_patch16_224", "image_size": 32,
    "model_args": TINY_VIT}, "ema": {"momentum": 0.2}, "device_batch_size": 4}, CLIP],
    ids=["batch norm", "dropped paths", "clip"])  # fmt: skip
def test_training_does_not_notice(
    document: dict[str, Any], held_out: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    plain = recipe(document, changes)
    measured = recipe(document, changes, {"validation": {**held_out, "every": 2}})
    pretrain(plain, out=tmp_path / "plain")
    pretrain(measured, out=tmp_path / "measured")
    assert len(evaluations(tmp_path / "measured")) == -(-(plain.length.steps or 0) // 2)
    losses = [
        [(row["loss"], row["grad_norm"]) for row in read_metrics(tmp_path / run / "metrics.jsonl")]
        for run in ("plain", "measured")
    ]
    assert losses[0] == losses[1]
    for file in ("model.safetensors", "state/state.safetensors"):
        one, two = (load_file(checkpoints.resolve(tmp_path / run) / file) for run in ("plain", "measured"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: Path,
    words: Path,
    held_out: dict[str, Any],
    in_processes: Callable[..., list[int]],
) -> Path:
    """Each job on two processes in `JOB/2`, and on one in `JOB/1`."""
    folder = tmp_path_factory.mktemp("validated")
    base = {
        "model": {"name": "vit_tiny_patch16_224", "image_size": 32, "model_args": TINY_VIT},
        "data": {"sources": [str(pairs)]},
        "vocabulary": {"path": str(words)},
        "global_batch_size": 10,
        "length": {"steps": 4},
        "optimiser": {"lr": 3e-3},
        "validation": held_out,
    }
    jobs = {name: {**base, **changes} for name, changes in JOBS.items()}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    assert in_processes(__file__, folder, ports=len(jobs)) == [0, 0]
    return folder


def worker(folder: Path, ports: list[str]) -> None:
    """Each job, in a process group of its own; and what each weights are worth to one process alone."""
    from accelerate import PartialState

    torch.set_num_threads(1)
    jobs = json.loads((folder / "jobs.json").read_text())
    for port, (name, document) in zip(ports, jobs.items(), strict=True):
        os.environ["MASTER_PORT"] = port
        PartialState._reset_state()
        pretrain(PretrainRecipe.model_validate(document), out=folder / name / "2", cpu=True)


def pixels(source: Any, count: int, config: dict[str, Any]) -> tuple[Tensor, list[str]]:
    """So many images of a source, evenly spread, as timm prepares them; and their captions."""
    transform = timm.data.create_transform(**config)
    samples = [source[number * len(source) // count] for number in range(count)]
    images = [Image.open(io.BytesIO(sample.image or b"")).convert("RGB") for sample in samples]
    return torch.stack([transform(image) for image in images]), [sample.captions[0] for sample in samples]


def test_two_processes_measure_what_one_would_of_the_averages_labels(
    runs: Path, pairs: Path, words: Path
) -> None:
    """What timm and scikit-learn say of the checkpoint's weights, which are the averages."""
    run = runs / "catlip" / "2"
    rows = evaluations(run)
    assert [(row["step"], row["samples"], row["images"]) for row in rows] == [(3, 30, 37), (4, 40, 37)]
    assert {row["weights"] for row in rows} == {"average"}
    tower = timm.create_model(f"local-dir:{checkpoints.resolve(run)}", pretrained=True).eval()
    source = data.open_source(str(pairs))
    images, captions = pixels(source, 37, timm.data.resolve_model_data_config(tower))
    encode = vocabulary.Encoder(vocabulary.load(words))
    targets = torch.zeros(37, 10)
    for row in range(37):
        targets[row, encode(source[row * len(source) // 37])] = 1
    assert len(captions) == 37
    with torch.no_grad():
        logits = tower(images)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / 37
    assert rows[-1]["loss"] == pytest.approx(float(loss), rel=1e-5)
    mean = average_precision_score(targets.numpy(), logits.numpy(), average="macro")
    assert rows[-1]["mean_average_precision"] == pytest.approx(mean, rel=1e-5)
    occurring = targets.sum(0).nonzero()[:, 0]  # in the order of the vocabulary, the most frequent first
    fewest = targets[:, occurring].sum(0).argsort(stable=True)[: len(occurring) - 2 * len(occurring) // 3]
    rarest = occurring[fewest]
    of_rarest = average_precision_score(targets[:, rarest].numpy(), logits[:, rarest].numpy())
    assert rows[-1]["mean_average_precision_rarest"] == pytest.approx(of_rarest, rel=1e-5)
    assert rows[-1]["classes"] == int((targets.sum(0) > 0).sum())
    assert rows[-1]["labels"] == pytest.approx(float(targets.sum(1).mean()))


def test_clip_contrasts_the_pairs_of_each_batch(runs: Path, pairs: Path) -> None:
    """What open_clip's model and loss say of the checkpoint, batch by batch."""
    run = runs / "clip" / "2"
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{checkpoints.resolve(run)}")
    tower = timm.create_model(f"local-dir:{checkpoints.resolve(run)}", pretrained=True)
    source = data.open_source(str(pairs))
    images, captions = pixels(source, 37, timm.data.resolve_model_data_config(tower))
    tokens = open_clip.tokenize(captions, 9)
    losses = []
    for number in range(5):
        rows = list(share(37, number, 5))
        with torch.no_grad():
            features = model.eval()(images[rows], tokens[rows])
            losses.append(len(rows) * float(ClipLoss()(*features)))
    assert evaluations(run)[-1]["loss"] == pytest.approx(sum(losses) / 37, rel=1e-5)


def test_one_process_measures_the_same(runs: Path) -> None:
    """A run of two processes, killed before its last row was written, goes on with one: the same numbers."""
    for job, document in json.loads((runs / "jobs.json").read_text()).items():
        run = runs / job / "2"
        first, last = evaluations(run)
        (run / "evaluations.jsonl").write_text(json.dumps(first) + "\n")
        pretrain(PretrainRecipe.model_validate(document), out=run, resume=True)
        again, new = evaluations(run)
        assert again == first
        assert {**new, "seconds": 0} == {**last, "seconds": 0}


def test_shards_measure_the_same_and_training_goes_on_from_its_own_weights(runs: Path) -> None:
    """What was gathered of the averages is forgotten: the step after a measurement has the loss of DDP's."""
    whole, sharded = runs / "catlip" / "2", runs / "sharded" / "2"
    losses = [[row["loss"] for row in read_metrics(run / "metrics.jsonl")] for run in (whole, sharded)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for found, wanted in zip(evaluations(sharded), evaluations(whole), strict=True):
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
        assert found["mean_average_precision"] == pytest.approx(wanted["mean_average_precision"], rel=1e-3)


def test_rows_of_steps_that_are_made_again_give_way(
    document: dict[str, Any], held_out: dict[str, Any], tmp_path: Path
) -> None:
    short = recipe(document, {"validation": held_out, "length": {"steps": 4}})
    pretrain(short, out=tmp_path / "run")
    with (tmp_path / "run" / "evaluations.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": 9, "loss": 1.0}) + "\n")
    longer = recipe(document, {"validation": held_out, "length": {"steps": 6}})
    pretrain(longer, out=tmp_path / "run", resume=True, allow_changes=True)
    assert [row["step"] for row in evaluations(tmp_path / "run")] == [3, 4, 6]


def test_what_it_costs_is_told_before(document: dict[str, Any], held_out: dict[str, Any]) -> None:
    asked = recipe(document, {"validation": held_out})
    found = dry_run(Loaded(asked, dict.fromkeys(dict(leaves(asked)), "test")), Place(processes=2)).validation
    assert found is not None
    assert (found.times, found.images, found.scores_bytes) == (3, 37, 4 * 19 * 10)
    # A forward pass is a third of a step: 3 x 37 images against 8 x 10.
    assert found.share == pytest.approx(3 * 37 / (3 * 8 * 10))
    assert any("is trained on, too" in warning for warning in asked.warnings(8))


if __name__ == "__main__":
    worker(Path(sys.argv[1]), sys.argv[2:])
