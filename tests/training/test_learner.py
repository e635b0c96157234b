"""The learner against plain torch: gradients in pieces and on two processes, clipping, resuming, naming."""

import copy
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from catlipctl import checkpoints, models
from catlipctl.data.batch import Batch, Step
from catlipctl.errors import UsageError
from catlipctl.models.range_augment import RangeAugment
from catlipctl.objectives import Catlip, Clip, Context, Objective, Output
from catlipctl.settings.models import ModelSettings, RangeAugmentSettings, TextSettings
from catlipctl.settings.objectives import ClipSettings
from catlipctl.settings.training import OptimiserSettings
from catlipctl.training.learner import Learner
from catlipctl.training.steps import cut
from catlipctl.training.underway import Told
from catlipctl.training.world import World

CLASSES, SIZE = 5, 32
TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2}
CASES = [(9, None), (9, 1), (9, 2), (7, 3), (2, 1)]
"""Images of a step, most in a piece. Of 9 in pieces of 1, one of two processes has an empty piece."""
TEXT = TextSettings(width=16, heads=2, layers=1, context_length=6)


def tower(outputs: int = CLASSES, **arguments: Any) -> models.TimmTower:
    torch.manual_seed(0)
    settings = ModelSettings(name="vit_tiny_patch16_224", image_size=SIZE, model_args={**TINY, **arguments})
    return models.create(settings, outputs)


def exact(objective: Objective) -> Objective:
    """It in float64, images too."""
    pixels = objective.pixels
    objective.pixels = lambda batch: (pixels(batch)[0].double(), {})  # type: ignore[method-assign]
    return objective.double()


def catlip(*, double: bool = False, **arguments: Any) -> Catlip:
    found = Catlip.build(None, Context(tower=tower(**arguments), encode=lambda _: []))
    return exact(found) if double else found  # type: ignore[return-value]


def clip(steps: int) -> Clip:
    augment = RangeAugment(RangeAugmentSettings(), steps, seed=0)
    return Clip.build(ClipSettings(embed_dim=8, text=TEXT), Context(tower=tower(8), range_augment=augment))


def labels(rows: int) -> Tensor:
    """Dense targets `[B, V]`; the first image has none."""
    found = (torch.rand(rows, CLASSES, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    found[0] = 0
    return found


def whole(rows: int, index: int = 0) -> Batch:
    """All rows of a step, with targets for both objectives."""
    draw = torch.Generator().manual_seed(100 * index + rows)
    found = labels(rows)
    start = index * rows
    return Batch(
        step=Step(index=index, size=SIZE, rows=rows, start=start),
        images=torch.randint(0, 256, (rows, 3, SIZE, SIZE), generator=draw, dtype=torch.uint8),
        targets={
            "classes": found.nonzero()[:, 1],
            "counts": found.sum(1).long(),
            "tokens": torch.randint(1, 49407, (rows, TEXT.context_length), generator=draw),
        },
        positions=torch.arange(start, start + rows),
        samples=torch.arange(rows),
        counted=rows,
    )


def part(batch: Batch, rows: Sequence[int], counted: int | None = None) -> Batch:
    counts = batch.targets["counts"]
    classes = torch.split(batch.targets["classes"], counts.tolist())
    index = torch.tensor([*rows])
    return Batch(
        step=batch.step,
        images=batch.images[index],
        targets={
            "classes": torch.cat([classes[row] for row in rows]),
            "counts": counts[index],
            "tokens": batch.targets["tokens"][index],
        },
        positions=batch.positions[index],
        samples=batch.samples[index],
        counted=len(rows) if counted is None else counted,
    )


def pieces(batch: Batch, most: int | None, rank: int = 0, world: int = 1) -> list[Batch]:
    """A process's share; a piece that does not count is made of some row."""
    return [
        part(batch, rows) if rows else part(batch, [0], 0) for rows in cut(batch.step.rows, rank, world, most)
    ]


def expected(objective: Objective, batch: Batch) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one big batch, by torch's dense loss."""
    module = copy.deepcopy(objective.model).train()
    images, _ = objective.pixels(batch)
    logits = module(images)
    loss = F.binary_cross_entropy_with_logits(logits, labels(len(batch)).to(logits), reduction="sum")
    (loss / len(batch)).backward()
    return loss.item() / len(batch), {
        f"model.{name}": value.grad for name, value in module.named_parameters() if value.grad is not None
    }


def gradients(learner: Learner) -> dict[str, Tensor]:
    return {n: p.grad for n, p in learner.objective.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], double: bool) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        tolerance = 1e-11 if double else 1e-5 * max(1.0, value.abs().max().item())
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize(("rows", "most"), CASES)
def test_the_gradient_of_pieces_is_that_of_one_big_batch(rows: int, most: int | None, double: bool) -> None:
    learner = Learner(catlip(double=double), OptimiserSettings(), World(cpu=True))
    batch = whole(rows)
    loss, wanted = expected(learner.objective, batch)
    values = learner.gradients(batch.step, pieces(batch, most))
    assert values.totals()[0].item() == pytest.approx(loss, rel=1e-12 if double else 1e-6)
    assert_same(gradients(learner), wanted, double)


def test_pieces_of_any_length_and_one_that_does_not_count() -> None:
    learner = Learner(catlip(double=True), OptimiserSettings(), World(cpu=True))
    batch = whole(7)
    loss, wanted = expected(learner.objective, batch)
    cuts = [part(batch, [0]), part(batch, [6], 0), part(batch, [1, 2, 3, 4]), part(batch, [5, 6])]
    values = learner.gradients(batch.step, cuts)
    shares = dict(zip(values.names, values.totals()[1:-1].tolist(), strict=True))
    assert values.totals()[0].item() == pytest.approx(loss, rel=1e-12)
    each = labels(7).sum(1).double()
    assert shares == {
        "labels": pytest.approx(each.mean().item()),
        "unlabelled": pytest.approx((each == 0).double().mean().item()),
    }
    assert_same(gradients(learner), wanted, True)


@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_a_step_is_that_of_torchs_adamw_after_its_clipping(clip_norm: float | None) -> None:
    settings = OptimiserSettings(lr=1.0, weight_decay=0.3, clip_norm=clip_norm)
    learner = Learner(catlip(double=True), settings, World(cpu=True))
    plain = copy.deepcopy(learner.objective.model)
    vectors = [p for p in plain.parameters() if p.ndim == 1]
    matrices = [p for p in plain.parameters() if p.ndim != 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}], lr=0.02
    )
    for index in range(3):
        batch = whole(6, index)
        reference.zero_grad()
        logits = plain(learner.objective.pixels(batch)[0])
        (F.binary_cross_entropy_with_logits(logits, labels(6), reduction="sum") / 6).backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), clip_norm or math.inf)
        reference.step()
        outcome = learner.step(batch.step, pieces(batch, 4), 0.02).outcome()
        assert outcome.grad_norm == pytest.approx(norm.item(), rel=1e-9)
        for (name, found), wanted in zip(
            learner.objective.model.named_parameters(), plain.parameters(), strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: n + m)


def train(learner: Learner, steps: Sequence[int], most: int | None = 4) -> list[float]:
    batches = [whole(9, index) for index in steps]
    return [learner.step(batch.step, pieces(batch, most), 0.01).outcome().loss for batch in batches]


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_all_that_learns_and_all_that_is_averaged_goes_on_bit_for_bit(momentum: float | None) -> None:
    def fresh() -> Learner:
        return Learner(clip(6), OptimiserSettings(), World(cpu=True), momentum=momentum)

    one, first, second = fresh(), fresh(), fresh()
    losses = train(one, range(6))
    begun = train(first, range(2))
    saved = {name: value.clone() for name, value in first.state_dict().items()}
    tower_saved = {name: value.clone() for name, value in first.tower_weights().items()}
    second.load_state_dict(tower_saved, saved, first.without_moments())
    assert begun + train(second, range(2, 6)) == losses
    for found, wanted in ((second.weights(), one.weights()), (second.state_dict(), one.state_dict())):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name
    if momentum is not None:
        raw = one.objective.state_dict()
        assert {"text.text_projection", "range_augment.noise.high", "logit_scale"} <= one.weights().keys()
        assert not torch.equal(one.weights()["text.text_projection"], raw["text.text_projection"])
        assert not torch.equal(one.weights()["range_augment.noise.high"], raw["range_augment.noise.high"])


def test_the_average_of_a_run_is_the_closed_form() -> None:
    learner = Learner(catlip(), OptimiserSettings(), World(cpu=True), momentum=0.25)
    wanted = {name: value.double() for name, value in learner.objective.state_dict().items()}
    for index in range(10):
        train(learner, [index])
        wanted = {n: 0.75 * wanted[n] + 0.25 * v for n, v in learner.objective.state_dict().items()}
    for name, value in wanted.items():
        torch.testing.assert_close(learner.weights()[name].double(), value, rtol=1e-5, atol=1e-6)


def test_lost_moments_and_strange_ones_are_named() -> None:
    learner = Learner(catlip(), OptimiserSettings(), World(cpu=True))
    train(learner, [0])
    saved, weights = learner.state_dict(), learner.tower_weights()
    again = Learner(catlip(), OptimiserSettings(), World(cpu=True))
    lost = {n: v for n, v in saved.items() if n != "optimiser/model.blocks.1.mlp.fc1.weight/exp_avg"}
    with pytest.raises(KeyError, match=r"model\.blocks\.1\.mlp\.fc1\.weight/exp_avg"):
        again.load_state_dict(weights, lost)
    strange = {**saved, "optimiser/model.blocks.7.mlp.fc1.weight/exp_avg": torch.zeros(2)}
    with pytest.raises(KeyError, match=r"model\.blocks\.7"):
        again.load_state_dict(weights, strange)
    name = "optimiser/model.blocks.1.mlp.fc1.weight/exp_avg"
    for odd in (saved[name][:1], saved[name].long()):  # type: ignore[index]
        with pytest.raises(RuntimeError, match=name):
            again.load_state_dict(weights, {**saved, name: odd})
    with pytest.raises(RuntimeError, match=r"head\.bias"):
        again.load_state_dict({**weights, "head.bias": torch.zeros(CLASSES + 1)}, saved)


def test_a_frozen_parameter_has_no_moments_and_needs_none() -> None:
    def fresh() -> Learner:
        objective = catlip()
        objective.model.cls_token.requires_grad_(False)  # type: ignore[union-attr, operator]
        return Learner(objective, OptimiserSettings(), World(cpu=True))

    one, two = fresh(), fresh()
    train(one, [0])
    two.load_state_dict(one.tower_weights(), one.state_dict(), one.without_moments())
    assert train(two, [1]) == train(one, [1])


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile without the minute in which a C++ compiler runs: traced, forward and backward."""
    compiled = nn.Module.compile
    # Not `eager`, which computes activations again with other draws.
    monkeypatch.setattr(nn.Module, "compile", lambda self, **kw: compiled(self, backend="aot_eager", **kw))
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "options",
    [
        {"activation_checkpointing": True},
        {"compile": True},
        {"compile": True, "activation_checkpointing": True},
    ],
)
@pytest.mark.usefixtures("traced")
def test_compiled_or_computed_again_it_learns_the_same_under_the_same_names(
    options: dict[str, bool], tmp_path: Path
) -> None:
    plain = Learner(catlip(drop_path_rate=0.3), OptimiserSettings(), World(cpu=True), momentum=0.5)
    other = Learner(catlip(drop_path_rate=0.3), OptimiserSettings(), World(cpu=True), momentum=0.5, **options)
    assert train(other, range(3)) == pytest.approx(train(plain, range(3)), rel=1e-5)
    for of in (Learner.weights, Learner.state_dict, Learner.tower_weights):
        assert of(other).keys() == of(plain).keys()
    checkpoints.write(tmp_path / "it", tower=other.objective.tower, weights=other.tower_weights(), config={})
    opened = timm.create_model(f"local-dir:{tmp_path / 'it'}", pretrained=True)
    for name, value in opened.state_dict().items():
        assert torch.equal(value, other.weights()[f"model.{name}"]), name


def test_statistics_see_each_image_once_though_it_is_computed_twice() -> None:
    """Of BatchNorm, in blocks that are computed again."""
    learners = []
    for again in (False, True):
        torch.manual_seed(0)
        made = models.create(ModelSettings(name="test_efficientnet", image_size=SIZE), CLASSES)
        objective = Catlip.build(None, Context(tower=made, encode=lambda _: []))
        options: dict[str, Any] = {"momentum": 0.5, "activation_checkpointing": again}
        learners.append(Learner(objective, OptimiserSettings(), World(cpu=True), **options))
    plain, other = learners
    assert train(other, range(3)) == pytest.approx(train(plain, range(3)), rel=1e-5)
    wanted = plain.objective.state_dict() | plain.state_dict()
    assert any(name.endswith("running_var") for name in wanted)
    for name, value in (other.objective.state_dict() | other.state_dict()).items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: n + m)


def test_one_image_has_no_statistics_and_that_is_said() -> None:
    made = models.create(ModelSettings(name="resnet10t", image_size=SIZE), CLASSES)
    objective = Catlip.build(None, Context(tower=made, encode=lambda _: []))
    learner = Learner(objective, OptimiserSettings(), World(cpu=True))
    with pytest.raises(UsageError, match="BatchNorm cannot take statistics of one image") as caught:
        train(learner, [0], most=1)
    assert "device_batch_size" in caught.value.hint


def test_a_tower_without_blocks_refuses_to_compute_them_again() -> None:
    class Bare(nn.Module):
        pretrained_cfg: ClassVar = {"architecture": "bare"}

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    objective = catlip()
    objective.tower = models.TimmTower(Bare())
    objective.model = objective.tower.module
    with pytest.raises(UsageError, match="bare has no blocks") as caught:
        Learner(objective, OptimiserSettings(), World(cpu=True), activation_checkpointing=True)
    assert "activation_checkpointing=false" in caught.value.hint


class Sick(Catlip):
    """Its loss is infinite in a piece that holds a given sample, or in all that don't count.

    Or its gradient alone.
    """

    sample: int | None = None
    gradient = False

    def forward(self, batch: Batch) -> Output:
        output = super().forward(batch)
        sick = self.sample in batch.samples.tolist() if self.sample is not None else not batch.counted
        if not sick:
            return output
        # The derivative of a root at 0 is infinite.
        return output._replace(loss=output.loss + ((output.loss * 0).sqrt() if self.gradient else math.inf))


def sick(sample: int | None, tower: models.Tower, *, gradient: bool = False) -> Sick:
    objective = Sick.build(None, Context(tower=tower, encode=lambda _: []))
    objective.sample, objective.gradient = sample, gradient
    return objective


def all_state(learner: Learner) -> dict[str, Tensor]:
    """Whatever a step may change, as it is now."""
    raw = {f"raw/{name}": value for name, value in learner.objective.state_dict().items()}
    return {name: value.clone() for name, value in (raw | learner.weights() | learner.state_dict()).items()}


def test_a_piece_that_does_not_count_may_be_infinite() -> None:
    objective = sick(None, tower())
    learner = Learner(objective, OptimiserSettings(), World(cpu=True))
    batch = whole(4)
    loss, _ = expected(objective, batch)
    outcome = learner.step(batch.step, [part(batch, [0, 1, 2, 3]), part(batch, [3], 0)], 0.1).outcome()
    assert outcome.loss == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("gradient", [False, True])
def test_a_step_that_is_not_finite_was_never_taken(gradient: bool) -> None:
    """With BatchNorm, clipping and an average: two runs are the same bit for bit, one without such steps."""
    learners = []
    for bad in ([], [2, 3, 5]):
        torch.manual_seed(0)
        made = models.create(ModelSettings(name="test_efficientnet", image_size=SIZE), CLASSES)
        objective = sick(4, made, gradient=gradient)
        learner = Learner(objective, OptimiserSettings(clip_norm=1.0), World(cpu=True), momentum=0.3)
        for number in range(7):
            # Their last piece holds sample 4, the others' does not.
            batch = whole(5, number) if number in bad else whole(4, number)
            if number in bad or number not in (2, 3, 5):
                outcome = learner.step(batch.step, pieces(batch, 3), 0.01).outcome()
                assert outcome.finite == (number not in bad)
                assert math.isfinite(outcome.loss) == (gradient or number not in bad)
        learners.append(all_state(learner))
    without, with_ = learners
    assert any(name.endswith("num_batches_tracked") for name in without)
    assert without.keys() == with_.keys()
    for name, value in without.items():
        assert torch.equal(with_[name], value), name


def test_after_three_in_a_row_nothing_changes_any_more() -> None:
    learner = Learner(sick(4, tower()), OptimiserSettings(), World(cpu=True), momentum=0.3)
    before = all_state(learner)
    for number, rows in enumerate((5, 5, 5, 4)):
        batch = whole(rows, number)
        assert not learner.step(batch.step, pieces(batch, 3), 0.01).outcome().finite
    after = all_state(learner)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert gradients(learner) == {}


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, in_processes: Callable[..., list[int]]
) -> list[dict[str, Tensor]]:
    """What each of two gloo processes found of every case, by `CASE/NAME`."""
    folder = tmp_path_factory.mktemp("two")
    assert in_processes(__file__, folder) == [0, 0]
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def worker(folder: Path) -> None:
    torch.set_num_threads(1)
    world = World(cpu=True)
    found: dict[str, Tensor] = {}
    for double in (True, False):
        for rows, most in CASES:
            learner = Learner(catlip(double=double), OptimiserSettings(), world)
            batch = whole(rows)
            values = learner.gradients(batch.step, pieces(batch, most, world.rank, 2))
            case = f"{double} {rows} {most}"
            found[f"{case}/loss"] = world.sum(values.totals())[0]
            found.update({f"{case}/{name}": value.clone() for name, value in gradients(learner).items()})
    learner = Learner(sick(8, tower()), OptimiserSettings(), world, momentum=0.5)
    before = all_state(learner)
    batch = whole(9)
    told = Told(signal=world.rank * 15, overdue=not world.rank, waited=0.25 + world.rank)
    outcome = learner.step(batch.step, pieces(batch, 2, world.rank, 2), 0.1, lambda: told).outcome()
    # Sample 8 is the second process's, and both know.
    found["skipped"] = torch.tensor(not outcome.finite and not math.isfinite(outcome.loss))
    after = all_state(learner)
    found["unchanged"] = torch.tensor(all(torch.equal(after[name], value) for name, value in before.items()))
    found["told"] = torch.tensor([outcome.signals, outcome.overdue, outcome.waits])
    save_file(found, folder / f"{world.rank}.safetensors")
    world.close()


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize(("rows", "most"), CASES)
def test_two_processes_have_the_gradient_of_one_big_batch(
    two: list[dict[str, Tensor]], rows: int, most: int | None, double: bool
) -> None:
    loss, wanted = expected(catlip(double=double).train(), whole(rows))
    for found in two:
        prefix = f"{double} {rows} {most}/"
        values = {n.removeprefix(prefix): v for n, v in found.items() if n.startswith(prefix)}
        assert values.pop("loss").item() == pytest.approx(loss, rel=1e-12 if double else 1e-6)
        assert_same(values, wanted, double)


def test_what_one_process_meets_both_know_and_neither_changes_anything(two: list[dict[str, Tensor]]) -> None:
    for found in two:
        assert found["skipped"]
        assert found["unchanged"]
        assert found["told"].tolist() == [[0, 15], [1, 0], [0.25, 1.25]]


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
