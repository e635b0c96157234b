"""The linear probe end to end on drawn images, and on features whose best classifier is known."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import save_for_hf

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import open_source
from catlipctl.errors import DataError, UsageError
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.progress import Silent
from catlipctl.transfer import features, linear_probe, write_transfer_init
from catlipctl.transfer.features import LabelledFeatures, ProbeSets, extract_sets
from catlipctl.transfer.initialise import AccountRow, TransferredHead, prior_rows
from catlipctl.transfer.labelled import TrainSize, open_splits, subset
from catlipctl.transfer.probes import probe, selection, zero_shot
from catlipctl.transfer.probes.solver import Problem

from ..conftest import COLOURS, draw, keys, tower

K, D = 5, 24


class Warnings(Silent):
    """Keeps what was warned of, and what was noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(message)


def known(noise: float = 3.0, samples: int = 240, seed: int = 0) -> tuple[ProbeSets, TransferredHead]:
    """Labels drawn from a softmax of known rows, and a head that knows the rows but for their scale."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(K, D, generator=generator)
    values = torch.randn(samples, D, generator=generator) + 2
    gumbel = -torch.log(-torch.log(torch.rand(samples, K, generator=generator)))
    labels = ((values - 2) @ rows.T + noise * gumbel).argmax(1)
    half = samples // 2
    names = LabelSet("known", tuple(Label(f"c{i}", ()) for i in range(K)))
    sets = ProbeSets(
        train=LabelledFeatures(values[:half], labels[:half]),
        test=LabelledFeatures(values[half:], labels[half:]),
        test_samples=[f"image {i}" for i in range(samples - half)],
        classes=names,
        split="",
        unreadable=0,
        unlabelled=0,
    )
    account = [
        AccountRow(label=f"c{i}", synsets=[], how="exact", similarity=1, sources=["x"], source_names=["x"])
        for i in range(K)
    ]
    return sets, TransferredHead("known", 4 * rows, torch.full((K,), -5.0), account)


@pytest.mark.parametrize("size", ["1/class", "5/class", "100%"])
def test_a_true_prior_helps_and_a_false_one_does_no_harm(size: str) -> None:
    gains, harms = [], []
    for seed in range(3):
        sets, head = known(seed=seed)
        _, transfer = probe(sets, head, train_size=TrainSize.parse(size), init="transfer", seed=seed)
        _, random = probe(sets, head, train_size=TrainSize.parse(size), init="random", seed=seed)
        assert random.choice.prior_scale == 0
        assert random.prior == {}
        assert transfer.prior["exact"] == K
        gains.append(transfer.acc1 - random.acc1)
        if size == "100%":
            false = replace(head, weight=head.weight.flip(0))
            _, misled = probe(sets, false, init="transfer", seed=seed)
            harms.append(misled.acc1 - random.acc1)
    assert sum(gains) / len(gains) > (0.0 if size == "100%" else 0.05)
    assert all(harm > -0.03 for harm in harms)


def test_the_choice_is_the_best_held_out_cross_entropy() -> None:
    sets, head = known()
    _, scores = probe(sets, head)
    best = min(scores.choice.grid, key=lambda point: point.cross_entropy)
    assert (scores.choice.regularisation, scores.choice.prior_scale) == (
        best.regularisation,
        best.prior_scale,
    )
    assert {point.prior_scale for point in scores.choice.grid} == {0.0, *selection.PRIOR_SCALES}


def test_too_few_images_to_hold_out_take_the_constants() -> None:
    sets, head = known()
    fit, scores = probe(sets, head, train_size=TrainSize.parse("3/class"))
    assert (scores.choice.regularisation, scores.choice.prior_scale) == (0.2 / (3 * K), 1 / 4)
    assert "fewer than 4" in scores.choice.how
    assert scores.train_images == 3 * K
    _, random = probe(sets, None, train_size=TrainSize.parse("3/class"))
    assert (random.choice.regularisation, random.choice.prior_scale) == (0.2 / (3 * K), 0.0)
    assert random.zero_shot_acc1 is None
    assert fit.weight.shape == (K, D)


def test_zero_shot_is_infinite_lambda_up_to_the_bias() -> None:
    sets, head = known()
    prior = prior_rows(head)
    fit = zero_shot(sets.train.values, prior)
    assert torch.equal(
        fit.weight, Problem(sets.train.values, sets.train.labels, K, prior).fit(math.inf, 1.0).weight
    )
    assert fit.logits(sets.train.values).mean(0).abs().max() < 1e-6
    _, scores = probe(sets, head)
    hits = (fit.logits(sets.test.values).argmax(1) == sets.test.labels).double()
    assert scores.zero_shot_acc1 == pytest.approx(float(hits.mean()))
    assert (scores.exact_classes, scores.zero_shot_rest_acc1) == (K, None)
    for how in ("similar", "hyponyms", "random"):
        head.account[3].how = how
        other = sets.test.labels == 3
        fit = zero_shot(sets.train.values, prior_rows(head))
        hits = (fit.logits(sets.test.values).argmax(1) == sets.test.labels).double()
        _, scores = probe(sets, head)
        assert scores.exact_classes == K - 1
        assert scores.zero_shot_exact_acc1 == pytest.approx(float(hits[~other].mean()))
        assert scores.zero_shot_rest_acc1 == pytest.approx(float(hits[other].mean()))


def test_a_class_without_a_row_is_neither_preferred_nor_shunned() -> None:
    _, head = known()
    head.account[2].how = "random"
    rows = prior_rows(head)
    others = [0, 1, 3, 4]
    assert torch.allclose(rows[2], head.weight[others].double().mean(0))
    assert torch.equal(rows[others], head.weight[others].double())


def test_the_written_checkpoint_gives_the_probes_answers(
    checkpoint: Checkpoint, folders: Path, tmp_path: Path
) -> None:
    train, test = open_splits(str(folders))
    assert test is not None
    progress = Warnings()
    result = linear_probe(
        checkpoint, train, test, out=tmp_path / "lp", train_size="3/class", seed=2, progress=progress
    )
    model = timm.create_model(f"local-dir:{tmp_path / 'lp'}", pretrained=True).eval()
    assert model.pretrained_cfg["label_names"] == sorted(COLOURS)
    from timm.data import create_transform, resolve_model_data_config
    from torchvision.datasets import ImageFolder

    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    images = ImageFolder(str(folders / "test"), transform)
    with torch.no_grad():
        logits = torch.stack([model(image[None])[0] for image, _ in images])
    truth = torch.tensor(images.targets)
    assert result.acc1 == pytest.approx(float((logits.argmax(1) == truth).double().mean()))
    assert result.acc5 == 1
    assert "dog = dog.n.01" in progress.notes[0]
    assert result.prior == {"exact": 4, "hyponyms": 0, "similar": 0, "averaged": 0, "partial": 0, "random": 0}
    assert (result.train_images, result.test_images, result.majority_share) == (12, 20, 0.25)

    rows = list(csv.DictReader((tmp_path / "lp" / "predictions.csv").open(encoding="utf-8")))
    names = sorted(COLOURS)
    assert [(row["truth"], row["predicted"]) for row in rows] == [
        (names[i], names[j]) for i, j in zip(truth.tolist(), logits.argmax(1).tolist(), strict=True)
    ]
    assert [Path(row["sample"]).name for row in rows] == [Path(path).name for path, _ in images.samples]
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        logits.softmax(1).max(1).values.tolist(), abs=1e-3
    )

    written = json.loads((tmp_path / "lp" / "result.json").read_text(encoding="utf-8"))
    assert written["acc1_interval"][0] <= written["acc1"] <= written["acc1_interval"][1]
    assert written["acc1"] == result.acc1
    assert written["data"]["train"]["images"] == 40
    assert written["inputs"] == {"checkpoint": str(checkpoint.path), "data": train.name, "test": test.name}
    assert (written["train_size"], written["converged"]) == ("3/class", True)
    again = linear_probe(checkpoint, train, test, train_size="3/class", seed=2)
    assert again.acc1 == result.acc1
    assert again.choice == result.choice
    with pytest.raises(UsageError, match="exists"):
        linear_probe(checkpoint, train, test, out=tmp_path / "lp")


def test_folded_head_on_the_tower_is_the_fit(checkpoint: Checkpoint, folders: Path, tmp_path: Path) -> None:
    source = open_source(str(folders / "train"), need="labels")
    result = linear_probe(checkpoint, source, None, init="random", out=tmp_path / "lp")
    assert result.prior == {}  # though there are rows, which the zero-shot figure uses
    assert result.zero_shot_acc1 is not None
    loaded = checkpoints.load(tmp_path / "lp")
    sets = extract_sets(checkpoint.tower, source, None)
    fit, _ = probe(sets, None, init="random")
    with torch.no_grad():
        logits = loaded.tower.linear_head()(sets.test.values)
    assert torch.allclose(logits.double(), fit.logits(sets.test.values), atol=1e-3)
    assert loaded.activation == "softmax"


def test_without_a_test_source_a_fifth_of_each_class_is_held_out(
    checkpoint: Checkpoint, folders: Path
) -> None:
    source = open_source(str(folders / "train"), need="labels")
    results = [linear_probe(checkpoint, source, None, seed=seed) for seed in (1, 1)]
    assert results[0].test_images == 8
    assert results[0].train_images == 32
    assert results[0].split == "20% of each class held out for the test, seed 1"
    assert results[0].choice == results[1].choice
    assert results[0].acc1 == results[1].acc1


def test_an_untrained_tower_is_seeded_and_has_the_images_statistics(
    checkpoint: Checkpoint, folders: Path
) -> None:
    source = open_source(str(folders / "train"), need="labels")
    towers = [features.untrained(checkpoint, seed) for seed in (1, 1, 2)]
    one, same, other = (tower.module for tower in towers)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.conv1[0].weight, other.conv1[0].weight)
    assert not torch.equal(one.conv1[0].weight, checkpoint.tower.module.conv1[0].weight)
    features.reestimate_batch_norm(towers[0], source)
    from catlipctl.data import read_images

    (images, _) = next(read_images(source, towers[0].preprocessing, batch=100))
    with torch.no_grad():
        mapped = one.conv1[0](towers[0].preprocessing.prepared(images))
    first = one.conv1[1]
    assert torch.allclose(first.running_mean, mapped.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(first.running_var, mapped.var((0, 2, 3)), atol=1e-3)
    result = linear_probe(checkpoint, source, None, random_backbone=True)
    assert result.prior == {}
    assert result.choice.prior_scale == 0
    assert result.zero_shot_acc1 is None


def test_a_tower_of_timms_own_has_no_prior(folders: Path, tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "tower", tower=tower(7, "vit_tiny_patch16_224"), config={})
    loaded = checkpoints.load(f"timm:local-dir:{tmp_path / 'tower'}")
    progress = Warnings()
    result = linear_probe(loaded, *open_splits(str(folders)), progress=progress)
    assert result.prior == {}
    assert result.acc1 > 0.25
    assert len(progress.lines) == 1
    assert "no vocabulary" in progress.lines[0]


def test_a_head_that_is_not_linear_is_not_asked_for(
    checkpoint: Checkpoint, folders: Path, tmp_path: Path
) -> None:
    levit = replace(checkpoint, tower=tower(8, "levit_256d", 224), path=None)
    progress, (train, test) = Warnings(), open_splits(str(folders))
    result = linear_probe(levit, train, test, train_size="3/class", out=tmp_path / "lp", progress=progress)
    assert result.checkpoint is None
    assert result.prior == {}
    assert "not one linear layer, so it has no rows" in progress.lines[0]
    assert "the classifier is written alone" in progress.lines[1]
    head = load_file(tmp_path / "lp" / "head.safetensors")
    sets = extract_sets(levit.tower, train, test)
    hits = (sets.test.values @ head["weight"].T + head["bias"]).argmax(1) == sets.test.labels
    assert result.acc1 == pytest.approx(float(hits.double().mean()))
    assert json.loads((tmp_path / "lp" / "result.json").read_text(encoding="utf-8"))["acc1"] == result.acc1


def test_what_transfer_init_wrote_is_the_prior(checkpoint: Checkpoint, folders: Path, tmp_path: Path) -> None:
    train, test = open_splits(str(folders))
    labels = [Label(name, keys(f"{name}.n.01")) for name in ("spoon", "Truck", "cat", "dog", "algebra")]
    write_transfer_init(checkpoint, LabelSet("mine", tuple(labels)), tmp_path / "all")
    progress = Warnings()
    again = linear_probe(checkpoints.load(tmp_path / "all"), train, test, progress=progress)
    direct = linear_probe(checkpoint, train, test, rows="plain")
    assert again.prior == direct.prior
    calibrated = linear_probe(checkpoint, train, test)
    assert (again.rows, calibrated.rows) == ("plain", "calibrated")
    # Other rows are another protocol; another init of the same is not.
    assert (direct.protocol[-10:], calibrated.protocol[-15:]) == ("plain rows", "calibrated rows")
    assert linear_probe(checkpoint, train, test, init="random").protocol == calibrated.protocol
    assert again.zero_shot_acc1 == direct.zero_shot_acc1
    assert again.choice == direct.choice
    assert progress.lines == []
    write_transfer_init(checkpoint, LabelSet("few", tuple(labels[1:])), tmp_path / "few")
    lacking = linear_probe(checkpoints.load(tmp_path / "few"), train, test, progress=progress)
    assert lacking.prior == {}
    assert "those of few, lack some" in progress.lines[0]


def test_only_the_images_of_the_train_size_are_read(
    checkpoint: Checkpoint, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def extract(*arguments: Any, **options: Any) -> features.Features:
        read.append(len(arguments[2]))
        return whole(*arguments, **options)

    whole = features.extract
    monkeypatch.setattr(features.sets, "extract", extract)
    result = linear_probe(checkpoint, *open_splits(str(folders)), train_size="30%", seed=3)
    assert read == [12, 20]
    assert (result.train_images, result.train_size) == (12, "30%")
    # The very images that a subset of the features of all of them has.
    train, test = open_splits(str(folders))
    sets = extract_sets(checkpoint.tower, train, test)
    part = extract_sets(
        checkpoint.tower,
        train,
        test,
        train_size=TrainSize.parse("30%"),
        seed=3,
    )
    indices = subset(sets.train.labels, TrainSize.parse("30%"), 3)
    assert torch.allclose(part.train.values, sets.train.values[indices], atol=1e-5)


def test_class_order_is_the_targets(checkpoint: Checkpoint, folders: Path, tmp_path: Path) -> None:
    target = LabelSet("mine", tuple(Label(name, ()) for name in ("Truck", "zebra", "spoon", "dog", "cat")))
    train, test = open_splits(str(folders))
    linear_probe(checkpoint, train, test, target=target, out=tmp_path / "lp")
    assert checkpoints.load(tmp_path / "lp").label_names == ["Truck", "spoon", "dog", "cat"]


def test_bad_data(checkpoint: Checkpoint, folders: Path, tmp_path: Path) -> None:
    train, test = open_splits(str(folders))
    without_dog = LabelSet("mine", tuple(Label(name, ()) for name in ("cat", "truck", "spoon", "horse")))
    with pytest.raises(DataError, match="not labels of mine: dog"):
        linear_probe(checkpoint, train, test, target=without_dog)
    draw(tmp_path / "one" / "dog" / "0.png", "red", 0)
    one = open_source(str(tmp_path / "one"), need="labels")
    with pytest.raises(DataError, match="1 class"):
        linear_probe(checkpoint, one, None)
    draw(tmp_path / "other" / "horse" / "0.png", "red", 0)
    with pytest.raises(DataError, match="horse"):
        linear_probe(checkpoint, train, open_source(str(tmp_path / "other"), need="labels"))
    draw(tmp_path / "broken" / "cat" / "0.png", "red", 0)
    draw(tmp_path / "broken" / "cat" / "1.png", "red", 1)
    for i in range(2):
        draw(tmp_path / "broken" / "dog" / f"{i}.png", "red", i)
    (tmp_path / "broken" / "cat" / "2.png").write_bytes(b"no image")
    result = linear_probe(checkpoint, open_source(str(tmp_path / "broken"), need="labels"), test=None)
    assert result.unreadable == 1
    with pytest.raises(UsageError, match="train size"):
        linear_probe(checkpoint, train, test, train_size="some")


def test_rows_of_imagenets_classes_are_a_prior(folders: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_resnet"), tmp_path / "timm", safe_serialization=True)
    loaded = checkpoints.load(f"timm:local-dir:{tmp_path / 'timm'}")
    progress = Warnings()
    result = linear_probe(loaded, *open_splits(str(folders)), train_size="3/class", progress=progress)
    assert progress.lines == []
    assert result.prior["hyponyms"] == 4  # ImageNet has breeds, cats, trucks and a wooden spoon
    assert result.zero_shot_acc1_interval is not None
    assert result.zero_shot_acc1 is not None
    assert result.zero_shot_acc1_interval[0] <= result.zero_shot_acc1 <= result.zero_shot_acc1_interval[1]
