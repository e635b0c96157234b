"""What `bench step` compares: the learner that trains, around the objectives that train, on a made-up batch.

What a step costs doesn't depend on what the pictures show. It does depend on how many labels an image has and
on how long the text tower's input is: both are as in real data.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from catlipctl.bench import configuration as configurations
from catlipctl.data.batch import Batch, Step
from catlipctl.objectives import Catlip, Clip, Context, Objective
from catlipctl.settings.models import TextSettings
from catlipctl.settings.objectives import ClipSettings
from catlipctl.settings.training import OptimiserSettings
from catlipctl.training.learner import Learner
from catlipctl.training.underway import Values
from catlipctl.training.world import World

CLASSES = 24_320
"""The paper's vocabulary of DataComp at threshold 500 (CatLIP 3.2)."""
LABELS_AN_IMAGE = 5
"""Nouns of a web caption, about."""
WORDS = 12
"""Tokens of a web caption, about. open_clip's text tower reads the whole context whatever their number."""
OPTIMISER = OptimiserSettings(lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, clip_norm=1.0)
"""open_clip's defaults for a ViT, and the norm to which both papers' recipes clip; on all sides."""

Mark = Callable[[str], None]
"""Told a phase of a step when it ends: `forward` (perhaps in parts), `loss`, `backward`, `optimiser`."""


class Comparison(BaseModel):
    """What all sides have in common.

    model: an open_clip configuration, by name or as a JSON file of the same form.
    batch_size: images of each process. compile: the image towers of ours, by `torch.compile`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    batch_size: int
    classes: int
    seed: int
    compile: bool = False


class Contestant(Protocol):
    """What takes training steps on one batch, again and again. module: all that learns."""

    @property
    def module(self) -> nn.Module: ...

    def step(self, mark: Mark) -> float:
        """Take a step; the loss before it."""
        ...


class Engine:
    """Our learner around an objective.

    towers: the parts of the objective that end the phase `forward`. All phases are told by hooks, so that
    the learner steps as it does in training.
    """

    def __init__(
        self,
        objective: Objective,
        towers: Sequence[nn.Module],
        batch: Batch,
        world: World,
        *,
        compile: bool = False,
    ) -> None:
        self.module = objective
        self.batch = batch.to(world.device)
        precision = world.precision("auto")
        self._learner = _Observed(objective, OPTIMISER, world, precision=precision, compile=compile)

        # A hook is a part of what is compiled; a clock is not.
        @torch.compiler.disable
        def forward_ends(*_: Any) -> None:
            self._learner.mark("forward")

        for tower in towers:
            tower.register_forward_hook(forward_ends)
        self._learner.module.register_forward_hook(lambda *_: self._learner.mark("loss"))

    def step(self, mark: Mark) -> float:
        """Take a step; the loss before it."""
        self._learner.mark = mark
        underway = self._learner.step(self.batch.step, [self.batch], OPTIMISER.lr)
        mark("optimiser")
        return underway.outcome().loss


class _Observed(Learner):
    """A learner that tells when it has its gradients."""

    mark: Mark

    def gradients(self, step: Step, pieces: Sequence[Batch]) -> Values:
        values = super().gradients(step, pieces)
        self.mark("backward")
        return values


def catlip_objective(comparison: Comparison, world: World) -> Catlip:
    """The configuration's image tower, with a linear classifier in the projection's place."""
    torch.manual_seed(comparison.seed)
    tower = configurations.image_tower(comparison.model, comparison.classes)
    return Catlip.build(None, _context(tower, comparison, world))


def catlip(comparison: Comparison, world: World) -> Contestant:
    """CatLIP, as it trains."""
    objective = catlip_objective(comparison, world)
    batch = made_up_batch(comparison, world)
    return Engine(objective, [objective.model], batch, world, compile=comparison.compile)


def clip(comparison: Comparison, world: World) -> Contestant:
    """CLIP: the configuration's image tower, and its text tower as `pretrain` makes it."""
    torch.manual_seed(comparison.seed)
    configuration = configurations.find(comparison.model)
    settings = ClipSettings(
        embed_dim=configuration["embed_dim"], text=configurations.text_settings(configuration)
    )
    tower = configurations.image_tower(comparison.model, settings.embed_dim, bias=False)
    objective = Clip.build(settings, _context(tower, comparison, world))
    batch = made_up_batch(comparison, world)
    return Engine(objective, [objective.model, objective.text], batch, world, compile=comparison.compile)


def _context(tower: configurations.OpenClipTower, comparison: Comparison, world: World) -> Context:
    # The batch's labels are made up, not encoded.
    return Context(tower=tower, encode=lambda _: [], rank=world.rank, world=world.size, seed=comparison.seed)


def made_up_batch(comparison: Comparison, world: World) -> Batch:
    """This process's images, noise in uint8, with what each objective learns of them; on the CPU."""
    configuration = configurations.find(comparison.model)
    rows, pixels = comparison.batch_size, configurations.image_size(configuration)
    random = np.random.default_rng([comparison.seed, world.rank])
    images = random.integers(0, 256, (rows, 3, pixels, pixels), dtype=np.uint8)
    classes, counts = zipf_labels(random, rows, comparison.classes)
    samples = torch.arange(rows) + world.rank * rows
    return Batch(
        step=Step(index=0, size=pixels, rows=rows * world.size, start=0),
        images=torch.from_numpy(images),
        targets={
            "classes": classes,
            "counts": counts,
            "tokens": random_tokens(random, rows, configurations.text_settings(configuration)),
        },
        positions=samples,
        samples=samples,
        counted=rows,
    )


def zipf_labels(random: np.random.Generator, rows: int, classes: int) -> tuple[Tensor, Tensor]:
    """About five class ids an image, class k as often as 1 / (k + 1); and how many each image has."""
    frequency = 1 / np.arange(1, classes + 1)
    drawn = random.choice(classes, (rows, LABELS_AN_IMAGE), p=frequency / frequency.sum())
    own = [np.unique(row) for row in drawn]
    return torch.from_numpy(np.concatenate(own)), torch.tensor([len(row) for row in own])


def random_tokens(random: np.random.Generator, rows: int, text: TextSettings) -> Tensor:
    """`[rows, context]`, int64: start, random words, end, padding, as open_clip's tokeniser lays them out."""
    lengths = np.clip(random.poisson(WORDS, rows), 1, text.context_length - 2)
    tokens = random.integers(1, text.vocab_size - 2, (rows, text.context_length))
    place = np.arange(text.context_length)
    tokens[:, 0] = text.vocab_size - 2
    tokens[place > lengths[:, None] + 1] = 0
    tokens[np.arange(rows), lengths + 1] = text.vocab_size - 1
    return torch.from_numpy(tokens)
