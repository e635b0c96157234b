"""What learns, spread over two, three and four gloo processes, against one process that has all of it."""

import copy
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from catlipctl import checkpoints, models
from catlipctl.checkpoints.pieces import Piece
from catlipctl.data.batch import Batch, Step
from catlipctl.models.range_augment import RangeAugment
from catlipctl.objectives import OBJECTIVES, Catlip, Context, Objective
from catlipctl.settings.models import ModelSettings, RangeAugmentSettings, TextSettings
from catlipctl.settings.objectives import SuperclipSettings
from catlipctl.settings.training import OptimiserSettings
from catlipctl.training.batch_norm import synchronise
from catlipctl.training.distribution import blocks
from catlipctl.training.learner import Learner
from catlipctl.training.steps import cut
from catlipctl.training.world import World

CLASSES, SIZE, STEPS = 5, 32, 20
TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2}
TEXT = TextSettings(width=16, heads=2, layers=2, context_length=6)
LARGE_HEAD = 200_000


@dataclass(frozen=True)
class Case:
    """What learns. everything: in pieces of one image, averaged, with RangeAugment."""

    objective: str = "catlip"
    everything: bool = False
    tower: str = "vit_tiny_patch16_224"
    optimiser: str = "adamw"

    @property
    def rows(self) -> int:
        return 4 if self.everything else 7


PLAIN, PIECES = Case(), Case(everything=True)
CLIP, CLIP_PIECES = Case("clip"), Case("clip", everything=True)
SIGLIP_PIECES, SUPERCLIP_PIECES = Case("siglip", everything=True), Case("superclip", everything=True)
STATISTICS = Case(tower="test_efficientnet")
LARS = Case(optimiser="lars")
EVERY = [
    (case, how) for case in (PLAIN, PIECES, CLIP, CLIP_PIECES, STATISTICS, LARS) for how in ("none", "full")
]
EVERY += [(SIGLIP_PIECES, "full"), (SUPERCLIP_PIECES, "full")]
JOBS = {4: [], 3: EVERY, 2: EVERY}
"""By processes: what they train, and how it is spread. Of four images three have an idle piece each step."""
RELAY = [(4, "hybrid"), (3, "none"), (2, "full"), (1, "none")]
"""One run, five steps in each of these worlds."""


def learner(case: Case, world: World, outputs: int = CLASSES, **options: Any) -> Learner:
    torch.manual_seed(0)
    arguments = TINY if case.tower.startswith("vit") else {}
    settings = ModelSettings(name=case.tower, image_size=SIZE, model_args=arguments)
    augment = RangeAugment(RangeAugmentSettings(), STEPS, seed=0) if case.everything else None
    context: dict[str, Any] = {"range_augment": augment, "rank": world.rank, "world": world.size}
    objective: Objective
    if case.objective != "catlip":
        kind, made = OBJECTIVES[case.objective], SuperclipSettings(embed_dim=8, text=TEXT)
        tower = models.create(settings, kind.head_size(made, outputs))
        objective = kind.build(made, Context(tower=tower, encode=lambda _: [], **context))
    else:
        tower = models.create(settings, outputs)
        objective = Catlip.build(None, Context(tower=tower, encode=lambda _: [], **context))
    if case == STATISTICS:
        # Of seven images BatchNorm makes a step's last bits the next one's first.
        objective = exact(objective)
    optimiser = OptimiserSettings() if case.optimiser == "adamw" else OptimiserSettings(name="lars", trust=1)
    return Learner(objective, optimiser, world, momentum=0.2 if case.everything else None, **options)


def exact(objective: Objective) -> Objective:
    """It in float64, images too."""
    pixels = objective.pixels
    objective.pixels = lambda batch: (pixels(batch)[0].double(), {})  # type: ignore[method-assign]
    return objective.double()


def pieces(case: Case, index: int, world: World, classes: int = CLASSES) -> tuple[Step, list[Batch]]:
    """A process's share of a step; a piece that does not count is made of some row."""
    rows = case.rows
    draw = torch.Generator().manual_seed(index % 5)
    images = torch.randint(0, 256, (rows, 3, SIZE, SIZE), generator=draw, dtype=torch.uint8)
    tokens = torch.randint(1, 49407, (rows, TEXT.context_length), generator=draw)
    labels = torch.randint(0, classes, (rows,), generator=draw)
    step = Step(index=index, size=SIZE, rows=rows, start=index * rows)
    found = []
    for own in cut(rows, world.rank, world.size, 1 if case.everything else None):
        chosen = torch.tensor([*own] or [0])
        targets = {
            "classes": labels[chosen],
            "counts": torch.ones_like(chosen),
            "tokens": tokens[chosen],
        }
        found.append(Batch(step, images[chosen], targets, step.start + chosen, chosen, len(own)))
    return step, found


def train(learner: Learner, case: Case, steps: range) -> list[list[float]]:
    """Losses and gradient norms."""
    outcomes = [learner.step(*pieces(case, index, learner.world), 5e-4).outcome() for index in steps]
    return [[outcome.loss, outcome.grad_norm] for outcome in outcomes]


class Saved(dict[str, Tensor]):
    """A whole state, of which rows are read."""

    def rows(self, name: str, first: int, count: int) -> Tensor:
        return self[name][first : first + count]


def save(learner: Learner, folder: Path) -> None:
    """Whole tensors, put together of all processes' pieces, of which each row must be in one."""
    tower, gathered = learner.tower_weights(), learner.world.gather([learner.state_dict()])
    if not learner.world.is_main:
        return
    state: dict[str, Tensor] = {}
    seen: dict[str, int] = {}
    for one in gathered:
        for name, value in one.items():
            if isinstance(value, Piece):
                whole = state.setdefault(name, torch.full(value.shape, torch.nan))
                whole[value.first : value.first + len(value.tensor)] = value.tensor
                seen[name] = seen.get(name, 0) + len(value.tensor)
            else:
                state[name] = value
    assert all(seen[name] == len(state[name]) and not state[name].isnan().any() for name in seen)
    save_file(state, folder / "state.safetensors")
    checkpoints.write(folder / "tower", tower=learner.objective.tower, weights=tower, config={})


def load(learner: Learner, folder: Path) -> None:
    tower = load_file(folder / "tower" / "model.safetensors")
    learner.load_state_dict(tower, Saved(load_file(folder / "state.safetensors")))


def relayed(folder: Path, world: World) -> list[list[float]]:
    """Five steps of the run that goes from world to world."""
    number = [size for size, _ in RELAY].index(world.size)
    runner = learner(CLIP_PIECES, world, sharding=RELAY[number][1])
    if number:
        load(runner, folder / str(RELAY[number - 1][0]))
    found = train(runner, CLIP_PIECES, range(5 * number, 5 * number + 5))
    (folder / str(world.size)).mkdir(exist_ok=True)
    save(runner, folder / str(world.size))
    return found


def worker(folder: Path, rank: int, ports: list[str]) -> None:
    """In worlds of four, three and two processes one after the other."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for port, (size, jobs) in zip(ports, JOBS.items(), strict=True):
        if rank >= size:
            break
        local = 2 if size == 4 else size
        os.environ.update(WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(local), MASTER_PORT=port)
        os.environ["LOCAL_RANK"] = str(rank % local)
        PartialState._reset_state()
        world = World(cpu=True)
        for case, sharding in jobs:
            one = learner(case, world, sharding=sharding, sync_batchnorm=True)
            found[f"{size} {sharding} {case}"] = train(one, case, range(STEPS))
            parameters = dict(one.objective.named_parameters())
            found[f"{size} {sharding} {case} whole"] = [
                name for name, value in parameters.items() if not isinstance(value, DTensor)
            ]
            weights = one.weights()
            if world.is_main:
                save_file(weights, folder / f"{size} {sharding} {case}.safetensors")
        found[f"relay {size}"] = relayed(folder, world)
        if size == 3:
            found["statistics"] = of_uneven_shares(world)
        if size == 2:
            save_file(of_a_large_head(world, "full"), folder / f"head {rank}.safetensors")
        world.close()
    (folder / f"{rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory, in_processes: Callable[..., list[int]]) -> Path:
    """What each process found: `RANK.json`, and weights."""
    folder = tmp_path_factory.mktemp("spread")
    assert in_processes(__file__, folder, processes=4, ports=len(JOBS)) == [0, 0, 0, 0]
    return folder


@pytest.fixture(scope="module")
def alone() -> dict[Case, tuple[list[list[float]], Mapping[str, Tensor], Mapping[str, Tensor]]]:
    """Of each case what one process found, its weights, and those that it had at its start."""
    found = {}
    for case in {case for jobs in JOBS.values() for case, _ in jobs}:
        one = learner(case, World(cpu=True))
        start = copy.deepcopy(one.weights())
        found[case] = train(one, case, range(STEPS)), one.weights(), start
    return found


@pytest.mark.parametrize(
    ("size", "case", "sharding"), [(size, *job) for size, jobs in JOBS.items() for job in jobs]
)
def test_all_processes_have_the_losses_norms_and_weights_of_one(
    spread: Path, alone: dict[Case, Any], size: int, case: Case, sharding: str
) -> None:
    key = f"{size} {sharding} {case}"
    losses, weights, start = alone[case]
    results = [json.loads((spread / f"{rank}.json").read_text()) for rank in range(size)]
    assert all(found[key] == results[0][key] for found in results)
    for (loss, norm), (wanted, wanted_norm) in zip(results[0][key], losses, strict=True):
        assert loss == pytest.approx(wanted, rel=1e-5)
        assert norm == pytest.approx(wanted_norm, rel=1e-3)
    saved = load_file(spread / f"{key}.safetensors")
    assert saved.keys() == weights.keys()
    assert all(not torch.equal(saved[name], start[name]) for name in start if name.endswith(".weight"))
    for name, value in weights.items():
        torch.testing.assert_close(saved[name], value, rtol=0, atol=5e-4, msg=lambda m, n=name: n + m)
    if sharding != "none":
        scalars = {name for name, value in weights.items() if value.ndim == 0 and value.is_floating_point()}
        counted = {"idf.steps", "idf.smoothing"}  # buffers
        assert set(results[0][f"{key} whole"]) == scalars - counted


def test_a_run_goes_from_hsdp_to_ddp_to_fsdp_and_to_one_process(spread: Path, alone: dict[Case, Any]) -> None:
    found = json.loads((spread / "0.json").read_text())
    last = relayed(spread, World(cpu=True))
    losses = [*found["relay 4"], *found["relay 3"], *found["relay 2"], *last]
    assert [loss for loss, _ in losses] == pytest.approx(
        [loss for loss, _ in alone[CLIP_PIECES][0]], rel=1e-5
    )
    opened = timm.create_model(f"local-dir:{spread / '2' / 'tower'}", pretrained=True)
    assert opened.num_classes == 8


def of_uneven_shares(world: World) -> list[str]:
    """How torch's BatchNorm over five images and ours differ: over 3, 2, and one that does not count."""
    draw = torch.Generator().manual_seed(0)
    images, factors = torch.randn(2, 5, 4, 3, 3, generator=draw, dtype=torch.float64)
    own = [range(3), range(3, 5), range(0)][world.rank]
    wrong = []
    for kind in (nn.BatchNorm2d, BatchNormAct2d):
        torch.manual_seed(1)
        plain = kind(4, momentum=0.3).double()
        nn.init.normal_(plain.weight)
        ours = copy.deepcopy(plain)
        synchronise(ours, lambda: len(own) > 0)
        whole = images.clone().requires_grad_()
        (plain(whole) * factors).sum().backward()
        share = images[own.start : own.stop] if own else torch.full((1, 4, 3, 3), torch.inf).double()
        share = share.clone().requires_grad_()
        (ours(share)[: len(own)] * factors[own.start : own.stop]).sum().backward()
        # As one process has them all, their sum is to be compared, not their mean.
        pairs = {
            f"{n} gradient": (world.sum(p.grad), plain.get_parameter(n).grad)
            for n, p in ours.named_parameters()
        }
        pairs |= {n: (value, plain.get_buffer(n)) for n, value in ours.named_buffers()}
        pairs["images"] = share.grad[: len(own)], whole.grad[own.start : own.stop]
        pairs["eval"] = ours.eval()(images), plain.eval()(images)
        wrong += [
            f"{kind.__name__} {n}"
            for n, (found, wanted) in pairs.items()
            if not torch.allclose(found, wanted)
        ]
    return wrong


def test_statistics_over_uneven_shares_are_those_of_all_images(spread: Path) -> None:
    assert [json.loads((spread / f"{r}.json").read_text())["statistics"] for r in range(3)] == [[], [], []]


def of_a_large_head(world: World, sharding: str) -> dict[str, Tensor]:
    """Loss and this process's rows of the head's gradient."""
    one = learner(PLAIN, world, LARGE_HEAD, sharding=sharding)
    values = one.gradients(*pieces(PLAIN, 0, world, LARGE_HEAD))
    head = {name: p.grad for name, p in one.distribution.learned.items() if name.startswith("model.head")}
    return {"loss": world.sum(values.totals())[0], **{n: g for n, g in head.items() if g is not None}}


def test_a_sharded_head_of_200_000_classes_is_the_unsharded_one(spread: Path) -> None:
    wanted = of_a_large_head(World(cpu=True), "none")
    parts = [load_file(spread / f"head {rank}.safetensors") for rank in range(2)]
    assert [len(part["model.head.weight"]) for part in parts] == [LARGE_HEAD // 2] * 2
    for name, value in wanted.items():
        if name == "loss":
            assert all(part[name].item() == pytest.approx(value.item(), rel=1e-6) for part in parts)
        else:
            torch.testing.assert_close(torch.cat([p[name] for p in parts]), value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "count"), [("vit_base_patch16_224", 12), ("resnet50", 16)])
def test_blocks_are_what_a_tower_repeats(name: str, count: int) -> None:
    with torch.device("meta"):
        module = timm.create_model(name)
    assert len(blocks(module)) == count


if __name__ == "__main__":
    worker(Path(sys.argv[1]), int(os.environ["RANK"]), sys.argv[2:])
