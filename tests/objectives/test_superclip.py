"""SuperCLIP against open_clip's loss and a dense softmax: in one piece, in several, and on two processes."""

import multiprocessing
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from catlipctl import models
from catlipctl.data.batch import Batch, Step, share
from catlipctl.data.sample import Sample
from catlipctl.objectives import Context, Superclip
from catlipctl.settings.models import ModelSettings, TextSettings
from catlipctl.settings.objectives import SuperclipSettings

TEXT = TextSettings(width=24, heads=2, layers=2, context_length=9)
SETTINGS = SuperclipSettings(embed_dim=16, text=TEXT, classification_weight=0.5)
TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2}
CLASSES, ROWS, SIZE = 5, 7, 32


def encode(sample: Sample) -> list[int]:
    """A caption's words are numbers."""
    return sorted({int(word) for word in " ".join(sample.captions).split()})


def built(rank: int = 0, world: int = 1) -> Superclip:
    """In float64, with images that are."""
    torch.manual_seed(0)
    tower = models.create(
        ModelSettings(name="vit_tiny_patch16_224", image_size=SIZE, model_args=TINY), CLASSES
    )
    found = Superclip.build(SETTINGS, Context(tower=tower, encode=encode, rank=rank, world=world)).double()
    found.pixels = lambda batch: (batch.images.double() / 255, {})  # type: ignore[method-assign]
    return found


def piece(objective: Superclip, index: int, rows: range) -> Batch:
    """Some rows of a step; one that does not count is made of row 0."""
    draw = np.random.default_rng(index)
    images = torch.from_numpy(draw.integers(0, 256, (ROWS, 3, SIZE, SIZE), dtype=np.uint8))
    captions = [" ".join(map(str, draw.integers(0, CLASSES, draw.integers(0, 4)))) for _ in range(ROWS)]
    chosen = torch.tensor([*rows] or [0])
    samples = [Sample(str(row), None, (captions[row],)) for row in chosen]
    targets = objective.collate(samples, chosen.numpy())
    return Batch(Step(index, SIZE, ROWS, index * ROWS), images[chosen], targets, chosen, chosen, len(rows))


def pieces(objective: Superclip, index: int, most: int) -> list[Batch]:
    own = share(ROWS, objective.rank, objective.world)
    largest = -(-ROWS // objective.world)
    return [piece(objective, index, own[first : first + most]) for first in range(0, largest, most)]


def learn(objective: Superclip, module: nn.Module, most: int) -> dict[str, Tensor]:
    """Of two steps this process's part of the mean losses; and the sum of the gradients."""
    losses = torch.zeros(2, dtype=torch.float64)
    for index in range(2):
        parts = pieces(objective, index, most)
        objective.prepare(parts[0].step, parts)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last or module is objective else module.no_sync():  # type: ignore[operator]
                loss = module(part).loss
                (loss * (part.counted * objective.world / ROWS)).backward()
            losses[index] += loss.detach() * (part.counted / ROWS)
    return {"losses": losses} | gradients(objective)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


def expected() -> dict[str, Tensor]:
    """The same by dense targets, autograd and open_clip's loss (SuperClass's `ClsLoss` for the labels)."""
    objective, losses = built(), []
    frequency = torch.zeros(CLASSES, dtype=torch.float64)
    for index in range(2):
        whole = piece(objective, index, range(ROWS))
        pixels, tokens = whole.images.double() / 255, whole.targets["tokens"]
        images = normalize(objective.projection(objective.tower.features(pixels)), dim=-1)
        texts = normalize(objective.text(tokens), dim=-1)
        contrast = open_clip.ClipLoss()(images, texts, objective.logit_scale.exp())
        targets = torch.zeros(ROWS, CLASSES, dtype=torch.float64)
        rows = torch.arange(ROWS).repeat_interleave(whole.targets["counts"])
        targets[rows, whole.targets["classes"]] = 1
        frequency += targets.mean(0)
        targets = targets * torch.log((index + 1 + 1 / ROWS) / (frequency + 1 / ROWS))
        surprise = -objective.model(pixels).log_softmax(1) * normalize(targets, p=1, dim=1)
        losses.append(contrast + 0.5 * surprise.sum(1).mean())
    sum(losses).backward()  # type: ignore[union-attr]
    return {"losses": torch.stack(losses).detach()} | gradients(objective)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("most", [ROWS, 2])
def test_one_process(most: int) -> None:
    objective = built()
    # Weights of labels are float32.
    assert_same(learn(objective, objective, most), expected(), 1e-6)


def test_two_processes_have_the_gradients_of_one_big_batch(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, __file__, str(tmp_path)], env=environment, check=True, timeout=300)
    objective = built()
    wanted = learn(objective, objective, ROWS)
    found = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    losses = found[0].pop("losses") + found[1].pop("losses")
    torch.testing.assert_close(losses, wanted.pop("losses"), rtol=1e-12, atol=1e-12)
    for one in found:
        assert_same(one, wanted, 1e-10)


def test_it_says_how_sure_it_is_of_each_class_and_counts_what_is_beside_its_tower() -> None:
    objective = built().eval()
    batch = piece(objective, 0, range(ROWS))
    with torch.no_grad():
        scores = objective(batch).scores
    assert scores is not None
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(ROWS))
    counted = models.counts(
        ModelSettings(name="vit_tiny_patch16_224", image_size=SIZE, model_args=TINY), CLASSES
    )
    learned = sum(parameter.numel() for parameter in objective.parameters())
    assert counted.parameters + Superclip.parameters_beside(SETTINGS, counted.features) == learned


def launch(folder: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=worker, args=(rank, folder)) for rank in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
        assert one.exitcode == 0


def worker(rank: int, folder: Path) -> None:
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    objective = built(rank, 2)
    found = learn(objective, DistributedDataParallel(objective), 2)
    save_file(found, folder / f"{rank}.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    launch(Path(sys.argv[1]))
