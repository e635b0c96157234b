"""A compiled tower against torch's own count of what it compiles, and against a run without a warm-up."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from catlipctl import models
from catlipctl.models.range_augment import RangeAugment
from catlipctl.objectives import Catlip, Clip, Context, Objective
from catlipctl.progress import SILENT, Silent
from catlipctl.settings.models import ModelSettings, RangeAugmentSettings, TextSettings
from catlipctl.settings.objectives import ClipSettings
from catlipctl.settings.training import Length, OptimiserSettings, Sizes
from catlipctl.training.compilation import compiled, made_up, warm_up
from catlipctl.training.learner import Learner
from catlipctl.training.steps import StepSchedule, schedule
from catlipctl.training.world import World

VIT = {"embed_dim": 24, "depth": 1, "num_heads": 2, "drop_path_rate": 0.3, "dynamic_img_size": True}
TEXT = TextSettings(width=16, heads=2, layers=1, context_length=6)
STEPS = 6


def objective(kind: str, tower: str, world: World) -> Objective:
    torch.manual_seed(0)
    settings = ModelSettings(name=tower, image_size=32, model_args=VIT if tower.startswith("vit") else {})
    made = models.create(settings, 8, [32, 48])
    augment = RangeAugment(RangeAugmentSettings(), STEPS, seed=0)
    context = Context(
        tower=made,
        encode=lambda _: [],
        range_augment=augment,
        token_drop=models.add_token_drop(made, 0) if tower.startswith("vit") else None,
        rank=world.rank,
        world=world.size,
    )
    return (
        Clip.build(ClipSettings(embed_dim=8, text=TEXT), context)
        if kind == "clip"
        else Catlip.build(None, context)
    )


def two_sizes(batch: int) -> StepSchedule:
    found = schedule(Length(steps=STEPS), batch, base_size=32, sizes=Sizes(min=32, max=48, scales=2))
    assert found is not None
    assert set(found.sizes) == {32, 48}
    return found


def learner(kind: str, tower: str, world: World, *, compile: bool = True) -> Learner:
    return Learner(objective(kind, tower, world), OptimiserSettings(), world, momentum=0.5, compile=compile)


def train(of: Learner, steps: StepSchedule, most: int | None) -> list[float]:
    """The losses of all steps, on noise."""
    world, losses = of.world, []
    for step in steps.since(0):
        batches = [
            made_up(of.objective, step, rows) for rows in steps.pieces(step, world.rank, world.size, most)
        ]
        for batch in batches:
            draw = torch.Generator().manual_seed(int(batch.positions[0]))
            batch.images.copy_(torch.randint(0, 256, batch.images.shape, generator=draw))
        losses.append(of.step(step, batches, 0.01).outcome().loss)
    return losses


@pytest.fixture(autouse=True)
def _traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile without the minute in which a C++ compiler runs: traced, forward and backward."""
    traced(monkeypatch.setattr)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def traced(setattr: Any) -> None:
    plain = nn.Module.compile
    setattr(nn.Module, "compile", lambda self, **options: plain(self, backend="aot_eager", **options))


@pytest.mark.parametrize(
    # Of 13 images 6 and 7 at 32 px, of 5 at 48 px 2 and 3; or all of them; or some first without patches.
    ("tower", "most", "shapes", "dropping"),
    [("vit_tiny_patch16_224", 7, 4, 0), ("resnet10t", None, 2, 0), ("vit_tiny_patch16_224", None, 3, 3)],
)
def test_after_a_warm_up_nothing_is_compiled_and_nothing_has_changed(
    tower: str, most: int | None, shapes: int, dropping: int
) -> None:
    world, steps = World(cpu=True), replace(two_sizes(13), token_drop=0.5, dropping=dropping)
    assert len(steps.by_shape()) * (most is None or 2) == shapes
    warm, cold = (learner("catlip", tower, world) for _ in range(2))
    torch.manual_seed(9)
    before, drawn = compiled(), torch.get_rng_state()
    warm_up(warm, steps, 0, most, SILENT)
    assert compiled() - before == shapes
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(parameter.grad is None for parameter in warm.learned)
    assert not warm.optimiser.state
    before = compiled()
    losses = train(warm, steps, most)
    assert compiled() == before
    assert warm.compilation is not None
    assert not warm.compilation.late
    torch._dynamo.reset()
    before = compiled()
    assert train(cold, steps, most) == losses
    assert compiled() - before == shapes
    for of in (Learner.weights, Learner.state_dict):
        found, wanted = of(warm), of(cold)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert torch.equal(found[name], value), name


class Heard(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_what_is_compiled_late_is_counted_and_told_at_once() -> None:
    world, steps, heard = World(cpu=True), two_sizes(6), Heard()
    warm = learner("catlip", "vit_tiny_patch16_224", world)
    last = int(steps.sizes[-1])
    warm_up(warm, steps, len(steps) - 1, None, heard)
    assert heard.warnings == []
    train(warm, steps, None)
    assert warm.compilation is not None
    assert dict(warm.compilation.late) == {32 + 48 - last: 1}
    assert [f"again at {32 + 48 - last} px" in warning for warning in heard.warnings] == [True]


def test_a_tower_that_is_not_compiled_needs_no_warm_up() -> None:
    plain = learner("catlip", "vit_tiny_patch16_224", World(cpu=True), compile=False)
    warm_up(plain, two_sizes(6), 0, None, SILENT)
    assert plain.compilation is None


def test_two_processes_with_uneven_shares_compile_nothing_late(
    tmp_path: Path, in_processes: Callable[..., list[int]]
) -> None:
    assert in_processes(__file__, tmp_path) == [0, 0]
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    # Without gradients and with them: 1 and 2 images at 32 px and 1 at 48 px, where one piece is empty;
    # 2 and 1. The text tower, whose input has but one size: 1 and 2 captions, without and with.
    assert [rank["early"].item() for rank in ranks] == [6 + 4, 4 + 4]
    assert [rank["late"].item() for rank in ranks] == [0, 0]
    for rank in ranks:
        torch.testing.assert_close(rank["losses"], rank["plain losses"], rtol=1e-5, atol=0)


def worker(folder: Path) -> None:
    """CLIP, in pieces: towers run without gradients, then with them."""
    torch.set_num_threads(1)
    traced(setattr)
    world, steps = World(cpu=True), two_sizes(7)
    warm, plain = (learner("clip", "vit_tiny_patch16_224", world, compile=it) for it in (True, False))
    before = compiled()
    warm_up(warm, steps, 0, 2, SILENT)
    assert warm.compilation is not None
    found = {
        "early": torch.tensor(compiled() - before),
        "losses": torch.tensor(train(warm, steps, 2)),
        "plain losses": torch.tensor(train(plain, steps, 2)),
        "late": torch.tensor(warm.compilation.late.total()),
    }
    save_file(found, folder / f"{world.rank}.safetensors")
    world.close()


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
