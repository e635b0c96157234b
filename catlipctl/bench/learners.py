"""Our side of `bench step`: the learner that trains, around the objectives that train, on a made-up batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
from pydantic import BaseModel

from catlipctl.bench import configuration as configurations
from catlipctl.bench.comparison import MOMENTUM, OPTIMISER, Comparison, Entry, made_up_batch
from catlipctl.bench.spans import OPTIMISER as OPTIMISING
from catlipctl.bench.spans import Mark, Span, Watch
from catlipctl.data.batch import Batch, Step
from catlipctl.objectives import OBJECTIVES, Catlip, Context, Contrastive, Objective, find
from catlipctl.objectives.objective import Encode
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.learner import Learner
from catlipctl.training.underway import Values
from catlipctl.training.world import World


class Engine:
    """Our learner around an objective, as `pretrain` has it."""

    def __init__(self, objective: Objective, batch: Batch, world: World, comparison: Comparison) -> None:
        self.module = objective
        self.batch = batch.to(world.device)
        self._learner = _Observed(
            objective,
            OPTIMISER,
            world,
            momentum=MOMENTUM if comparison.ema else None,
            precision=world.precision(comparison.precision),
            compile=comparison.compile,
            activation_checkpointing=comparison.activation_checkpointing,
        )
        self._learner.watch = Watch(objective, compiled=comparison.compile)

    @property
    def parts(self) -> int:
        """How many named parts of the loss a step has told."""
        return self._learner.parts

    @contextmanager
    def nothing_computed_again(self) -> Iterator[None]:
        """Inside, blocks keep their activations: what a step computes again is no progress."""
        towers: list[Any] = self.module.towers() if self._learner.recomputes else []
        for tower in towers:
            tower.set_grad_checkpointing(False)
        yield
        for tower in towers:
            tower.set_grad_checkpointing(True)

    def step(self, mark: Mark) -> float:
        """Take a step; the loss before it."""
        self._learner.watch.mark = mark
        underway = self._learner.step(self.batch.step, [self.batch], OPTIMISER.lr)
        mark(Span("optimiser", OPTIMISING))
        return underway.outcome().loss


class _Observed(Learner):
    """A learner that tells when it has its gradients."""

    watch: Watch
    parts: int

    def gradients(self, step: Step, pieces: Sequence[Batch]) -> Values:
        values = super().gradients(step, pieces)
        self.watch.backward_ends()
        self.parts = len(values.names)
        return values


def ours(entry: Entry, comparison: Comparison, world: World, encode: Encode | None = None) -> Engine:
    """The entry's objective, as it trains. encode: what its collator makes labels by."""
    objective = make_objective(entry, comparison, world, encode)
    batch = made_up_batch(comparison, world, entry.objective, entry.context)
    return Engine(objective, batch, world, comparison)


def make_objective(
    entry: Entry, comparison: Comparison, world: World, encode: Encode | None = None
) -> Objective:
    """The configuration's image tower with the objective's head, and its text tower where one is wanted.

    encode: of samples; None: a made-up batch has its labels.
    """
    torch.manual_seed(comparison.seed)
    kind, settings = find(entry.objective), settings_of(entry, comparison)
    classes = comparison.classes_of(entry.objective)
    outputs = kind.head_size(settings, classes)
    configuration = comparison.configuration(entry.context)
    # A classifier has a bias, a projection has none.
    tower = configurations.image_tower(configuration, outputs, bias=outputs == classes)
    context = Context(
        tower=tower, encode=encode or (lambda _: []), rank=world.rank, world=world.size, seed=comparison.seed
    )
    return kind.build(settings, context)


def catlip_objective(comparison: Comparison, world: World) -> Catlip:
    """CatLIP's, of a case."""
    made = make_objective(Entry(name="catlip", objective="catlip"), comparison, world)
    assert isinstance(made, Catlip)
    return made


def settings_of(entry: Entry, comparison: Comparison) -> Any:
    """The recipe's section of the objective, with the configuration's text tower.

    Of an objective of one's own no arguments.
    """
    section = section_of(entry.objective)
    if section is None:
        return None if entry.objective in OBJECTIVES else {}
    configuration = comparison.configuration(entry.context)
    known = {
        "embed_dim": configuration["embed_dim"],
        "text": configurations.text_settings(configuration),
    }
    return section(**{name: value for name, value in known.items() if name in section.model_fields})


def section_of(objective: str) -> type[BaseModel] | None:
    """What a pre-training recipe says under the objective's name."""
    field = PretrainRecipe.model_fields.get(objective)
    kinds = () if field is None else get_args(field.annotation)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def has_text_tower(objective: str) -> bool:
    """Does it read captions by a text tower?"""
    return issubclass(find(objective), Contrastive)
