"""CLIP and SigLIP against open_clip's own models and losses: in pieces and on several processes."""

import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.loss import SigLipLoss
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from catlipctl import models
from catlipctl.data.batch import Batch, Step, share
from catlipctl.objectives import OBJECTIVES, Clip, Context
from catlipctl.objectives.contrastive import Contrastive
from catlipctl.settings.models import ModelSettings, TextSettings
from catlipctl.settings.objectives import ClipSettings

SETTINGS = ClipSettings(embed_dim=16, text=TextSettings(width=24, heads=2, layers=2, context_length=9))
SHARES = [(8, None), (8, 2), (7, None), (7, 2), (5, 2), (1, None)]
"""Rows of a step, most in a piece. Of 5 rows in pieces of 2, one of two processes has an empty piece."""
CASES = [
    *(("clip", *rows, exact) for rows in SHARES for exact in (True, False)),
    *(("siglip", *rows, True) for rows in SHARES),
    ("siglip", 7, 2, False),
]
RING = [("siglip", 8, None, True), ("siglip", 7, 2, True), ("siglip", 2, None, True)]
LOSSES = {"clip": open_clip.ClipLoss, "siglip": SigLipLoss}

# open_clip gathers by torch's older name for it.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed.nn")


def built(
    kind: str = "clip",
    name: str = "test_vit",
    *,
    rank: int = 0,
    world: int = 1,
    exact: bool = True,
    captions: tuple[float, ...] = (),
) -> Contrastive:
    """Our objective; `exact` makes it float64, with images that are."""
    torch.manual_seed(0)
    size = {"test_vit": 160, "resnet10t": 32}[name]
    objective = OBJECTIVES[kind]
    tower = models.create(ModelSettings(name=name, image_size=size), objective.head_size(SETTINGS, None))
    found = objective.build(SETTINGS, Context(tower=tower, rank=rank, world=world, captions=captions))
    assert isinstance(found, Contrastive)
    if exact:
        found.double()
        found.pixels = lambda batch: (pixels(found, batch).double(), {})  # type: ignore[method-assign]
    return found


def pixels(objective: Contrastive, batch: Batch) -> Tensor:
    preprocessing = objective.tower.preprocessing
    mean, std = (torch.tensor(v)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
    return (batch.images.float() / 255 - mean) / std


def reference(objective: Contrastive) -> nn.Module:
    """open_clip's model of the same weights: timm's tower without a classifier, then its projection."""
    tower = objective.tower
    vision = {
        "timm_model_name": tower.name,
        "image_size": tower.preprocessing.size,
        "timm_pool": "",
        "timm_proj": "linear",
        "timm_proj_bias": True,
    }
    bias = objective.logit_bias.item() if hasattr(objective, "logit_bias") else None
    text = SETTINGS.text.model_dump()
    model = open_clip.CustomTextCLIP(SETTINGS.embed_dim, vision, text, init_logit_bias=bias, output_dict=True)
    model.to(objective.logit_scale.dtype)
    model.load_state_dict({theirs(name): value for name, value in objective.state_dict().items()})
    return model


def theirs(name: str) -> str:
    for head in ("model.head.", "model.fc."):
        if name.startswith(head):
            return name.replace(head, "visual.head.proj.")
    return name.replace("model.", "visual.trunk.", 1) if name.startswith("model.") else name


def whole(rows: int, size: int) -> Batch:
    """All rows of a step."""
    draw = torch.Generator().manual_seed(rows)
    captions = [f"a {word} and {i} more" for i, word in enumerate(("dog", "cat", "car", "sea") * 2)][:rows]
    return Batch(
        step=Step(index=0, size=size, rows=rows, start=0),
        images=torch.randint(0, 256, (rows, 3, size, size), generator=draw, dtype=torch.uint8),
        targets={"tokens": open_clip.tokenize(captions, SETTINGS.text.context_length)},
        positions=torch.arange(rows),
        samples=torch.arange(rows),
        counted=rows,
    )


def pieces(batch: Batch, most: int | None, rank: int = 0, world: int = 1) -> Iterator[Batch]:
    """A process's share in pieces, as many on every process; one that does not count is made of row 0."""
    own = share(batch.step.rows, rank, world)
    largest = -(-batch.step.rows // world)
    most = most or largest
    for first in range(0, largest, most):
        rows = torch.tensor([*own[first : first + most]])
        counted = len(rows)
        if not counted:
            rows = torch.tensor([0])
        yield Batch(
            step=batch.step,
            images=batch.images[rows],
            targets={"tokens": batch.targets["tokens"][rows]},
            positions=rows,
            samples=rows,
            counted=counted,
        )


def learn(objective: Contrastive, module: nn.Module, parts: list[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
    """What the loop does: this process's part of the mean loss and of the accuracy; and the gradients."""
    rows, world = parts[0].step.rows, objective.world
    objective.prepare(parts[0].step, parts)
    total = torch.zeros(2, dtype=torch.float64)
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        with nullcontext() if last or module is objective else module.no_sync():  # type: ignore[operator]
            output = module(part)
            (output.loss * (part.counted * world / rows)).backward()
        total += torch.stack([output.loss.detach(), output.parts["accuracy"]]) * (part.counted / rows)
    return total, gradients(objective)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {theirs(name): value.grad for name, value in module.named_parameters() if value.grad is not None}


def expected(objective: Contrastive, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """open_clip's loss of one big batch and how many images find their text; and the gradients."""
    model = reference(objective)
    images = pixels(objective, batch).to(objective.logit_scale.dtype)
    output = model(images, batch.targets["tokens"])
    loss = LOSSES[type(objective).__name__.lower()]()(**output)
    loss.backward()
    nearest = (output["image_features"] @ output["text_features"].T).argmax(1)
    accuracy = (nearest == torch.arange(len(batch))).double().mean()
    return torch.stack([loss.detach(), accuracy]), gradients(model)


def assert_told(found: Tensor, wanted: Tensor, exact: bool) -> None:
    assert found[0].item() == pytest.approx(wanted[0].item(), abs=1e-10 if exact else 1e-5)
    assert found[1].item() == pytest.approx(wanted[1].item(), abs=1e-6)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], exact: bool) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        tolerance = 1e-10 if exact else 1e-5 * max(1.0, value.abs().max().item())
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize(("kind", "rows", "most", "exact"), CASES)
def test_one_process(kind: str, rows: int, most: int | None, exact: bool) -> None:
    objective = built(kind, exact=exact)
    batch = whole(rows, 160)
    told, found = learn(objective, objective, [*pieces(batch, most)])
    wanted_told, wanted = expected(objective, batch)
    assert_told(told, wanted_told, exact)
    assert_same(found, wanted, exact)


Processes = dict[int, list[dict[str, Tensor]]]
"""What each of two and of three gloo processes found of every case, by `CASE/NAME`."""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    folder = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=True, timeout=300)
    return {
        world: [load_file(folder / f"{rank} of {world}.safetensors") for rank in range(world)]
        for world in (2, 3)
    }


def launch(folder: Path) -> None:
    """Forked, not started anew: to import torch, timm and open_clip takes longer than what they do here."""
    fork = multiprocessing.get_context("fork")
    for world in (2, 3):
        workers = [fork.Process(target=worker, args=(rank, world, folder)) for rank in range(world)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
            assert one.exitcode == 0


def worker(rank: int, world: int, folder: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting of {world}", rank=rank, world_size=world
    )
    found: dict[str, Tensor] = {}

    def keep(case: str, told: Tensor, by_name: dict[str, Tensor]) -> None:
        found[f"{case}/told"] = told
        found.update({f"{case}/{name.removeprefix('module.')}": value for name, value in by_name.items()})

    for kind, rows, most, exact in CASES if world == 2 else RING:
        objective = built(kind, rank=rank, world=world, exact=exact)
        parts = [*pieces(whole(rows, 160), most, rank, world)]
        name = f"ours {kind} {rows} {most} {exact}"
        keep(name, *learn(objective, DistributedDataParallel(objective), parts))
    options = {"clip": {"local_loss": True, "gather_with_grad": True}, "siglip": {}}
    for kind in options if world == 2 else ():
        objective = built(kind)
        model = DistributedDataParallel(reference(objective))
        (part,) = pieces(whole(4 * world, 160), None, rank, world)
        criterion = LOSSES[kind](rank=rank, world_size=world, **options[kind])
        loss = criterion(**model(pixels(objective, part).double(), part.targets["tokens"]))
        loss.backward()
        keep(f"theirs {kind}", loss.detach() / world, gradients(model))
    save_file(found, folder / f"{rank} of {world}.safetensors")
    torch.distributed.destroy_process_group()


def case(found: dict[str, Tensor], name: str) -> tuple[Tensor, dict[str, Tensor]]:
    prefix = name + "/"
    values = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    return values.pop("told"), values


@pytest.mark.parametrize(("kind", "rows", "most", "exact"), CASES)
def test_two_processes_have_the_gradients_of_one_big_batch(
    processes: Processes, kind: str, rows: int, most: int | None, exact: bool
) -> None:
    assert_one_big_batch(processes[2], kind, rows, most, exact)


def assert_one_big_batch(
    found_by: list[dict[str, Tensor]], kind: str, rows: int, most: int | None, exact: bool
) -> None:
    wanted_told, wanted = expected(built(kind, exact=exact), whole(rows, 160))
    found = [case(one, f"ours {kind} {rows} {most} {exact}") for one in found_by]
    total = torch.stack([told for told, _ in found]).sum(0)
    assert_told(total, wanted_told, exact)
    for _, values in found:
        assert_same(values, wanted, exact)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_two_processes_have_the_gradients_of_open_clip_on_two(processes: Processes, kind: str) -> None:
    for one in processes[2]:
        told, values = case(one, f"ours {kind} 8 None True")
        wanted_loss, wanted = case(one, f"theirs {kind}")
        # Each process's mean of its rows, and the gradient of all.
        assert told[0].item() == pytest.approx(wanted_loss.item(), abs=1e-10)
        assert_same(values, wanted, exact=True)


@pytest.mark.parametrize(("kind", "rows", "most", "exact"), RING)
def test_texts_go_round_a_ring_of_three(
    processes: Processes, kind: str, rows: int, most: int | None, exact: bool
) -> None:
    """Of 2 rows one process has none."""
    assert_one_big_batch(processes[3], kind, rows, most, exact)


def test_accumulation_with_batch_statistics_sees_each_image_once() -> None:
    """Each piece is normalised by its own statistics, which move the running ones once."""
    objective = built(name="resnet10t")
    model = reference(objective)
    parts = [*pieces(whole(8, 32), 4)]
    _, found = learn(objective, objective, parts)
    outputs = [model(pixels(objective, part).double(), part.targets["tokens"]) for part in parts]
    images, texts = (
        torch.cat([output[kind] for output in outputs]) for kind in ("image_features", "text_features")
    )
    open_clip.ClipLoss()(images, texts, outputs[0]["logit_scale"]).backward()
    assert_same(found, gradients(model), exact=True)
    ours, same = ({theirs(n): b for n, b in m.named_buffers()} for m in (objective, model))
    assert any("running_mean" in name for name in ours)
    for name, value in ours.items():
        torch.testing.assert_close(value, same[name], rtol=1e-12, atol=1e-12)


def test_training_steps_are_open_clips_where_the_scale_is_clamped() -> None:
    """As in open_clip's train.py: one step of the optimiser, then the scale is clamped."""
    objective = built()
    with torch.no_grad():
        objective.logit_scale.fill_(math.log(95))
    model, batch = reference(objective), whole(8, 160)
    images, tokens = pixels(objective, batch).double(), batch.targets["tokens"]
    ours, same = (torch.optim.SGD(m.parameters(), lr=3e-3, momentum=0.9) for m in (objective, model))
    scales = []
    for step in range(16):
        pull = -10 if step < 6 else 10  # first above the bound, then below
        output = model(images, tokens)
        loss = open_clip.ClipLoss()(**output)
        found = objective(batch)
        assert found.loss.item() == pytest.approx(loss.item(), rel=1e-8)
        scales.append(output["logit_scale"].item())
        assert found.parts["logit_scale"].item() == pytest.approx(scales[-1], rel=1e-8)
        for optimiser, value, of in ((same, loss, model), (ours, found.loss, objective)):
            optimiser.zero_grad()
            (value + pull * of.logit_scale).backward()
            optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    assert scales.count(pytest.approx(100)) > 2
    assert scales[-1] < 95


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_of_several_captions_each_has_its_loss(kind: str) -> None:
    """The mean by weight of open_clip's loss with the first captions, and of that with the second."""
    objective, first = built(kind, captions=(3.0, 1.0)), whole(7, 160)
    tokens = [first.targets["tokens"], open_clip.tokenize([f"so {i}" for i in range(7)], 9)]
    both = replace(first, targets={"tokens": torch.stack(tokens, dim=1)})
    told, found = learn(objective, objective, [*pieces(both, 3)])
    model, total = reference(objective), torch.zeros((), dtype=torch.float64)
    for one, weight in zip(tokens, (0.75, 0.25), strict=True):
        total = total + weight * LOSSES[kind]()(**model(pixels(objective, first).double(), one))
    total.backward()
    assert told[0].item() == pytest.approx(total.item(), abs=1e-10)
    assert_same(found, gradients(model), exact=True)
    assert objective.stand_ins(4)["tokens"].shape == (4, *both.targets["tokens"].shape[1:])


def test_pieces_under_autocast_learn_as_one_batch_does() -> None:
    batch = whole(8, 160)
    found = []
    for most in (None, 2):
        objective = built(exact=False)
        parts = [*pieces(batch, most)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            objective.prepare(batch.step, parts)
            losses = [objective(part).loss * (len(part) / 8) for part in parts]
        assert losses[0].dtype == torch.float32
        sum(losses).backward()  # type: ignore[union-attr]
        found.append(gradients(objective))
    assert found[0].keys() == found[1].keys() == {theirs(n) for n, _ in objective.named_parameters()}
    for name, value in found[0].items():
        scale = value.abs().max().item()
        torch.testing.assert_close(found[1][name], value, rtol=0, atol=0.05 * scale, msg=name)


@pytest.mark.parametrize(("kind", "scale", "bias"), [("clip", 1 / 0.07, None), ("siglip", 10, -10)])
def test_scalars_start_as_published_and_are_without_weight_decay(
    kind: str, scale: float, bias: float | None
) -> None:
    objective = built(kind)
    learned = dict(objective.named_parameters())
    scalars = {name: value.item() for name, value in learned.items() if value.ndim == 0}
    wanted = {"logit_scale": math.log(scale)} | ({} if bias is None else {"logit_bias": bias})
    assert scalars == pytest.approx(wanted)
    assert objective.undecayed == scalars.keys()
    assert OBJECTIVES[kind].parameters_beside(SETTINGS, 64) == sum(
        value.numel() for name, value in learned.items() if not name.startswith("model.")
    )


def test_the_text_tower_has_the_operations_that_open_clip_lists() -> None:
    """open_clip's model profile: 2.98 GMACs of text in its ViT-B models; two operations each."""
    assert Clip.flops_beside(None, 768) == pytest.approx(2 * 2.98e9, rel=2e-3)


if __name__ == "__main__":
    launch(Path(sys.argv[1]))
