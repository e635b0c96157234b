"""The recipe of a pre-training run: one section a component, each with its component's own schema."""

from collections.abc import Collection
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from catlipctl.data import Augmentation
from catlipctl.labels import EXTRACTORS
from catlipctl.models import ModelSettings
from catlipctl.objectives import OBJECTIVES
from catlipctl.training.average import EmaSettings
from catlipctl.training.optimiser import OptimiserSettings
from catlipctl.training.schedule import ScheduleSettings


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(_Section):
    """Where the pairs come from, and how their images are altered."""

    sources: list[str] = Field(default_factory=list)
    image_key: str | None = None
    caption_keys: list[str] = Field(default_factory=list)
    strict: bool = False
    workers: int = Field(default=0, ge=0)
    """Processes that decode, beside each training process."""
    augmentation: Augmentation = Field(default_factory=Augmentation)


class VocabularySettings(_Section):
    """The vocabulary: a file, or how to count one over the sources."""

    path: str | None = None
    extractor: str | None = None
    """What makes labels of captions; null: that of the file, or corenet."""
    threshold: int | None = Field(default=None, ge=0)
    """Keys that count more are kept; null: 500 (CatLIP 3.2), or 0 where `max_size` is given."""
    max_size: int | None = Field(default=None, ge=1)
    count: Literal["occurrences", "captions"] | None = None
    """What counts; null: occurrences (CatLIP 3.2), or captions for sub-words (SuperClass)."""

    @field_validator("extractor")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return name and _one_of(EXTRACTORS, name)


class Length(_Section):
    """How long to train: exactly one of the three."""

    exclusive: ClassVar = ("samples", "epochs", "steps")

    samples: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Length":
        given = [name for name in self.exclusive if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of samples, epochs and steps, not {', '.join(given) or 'none'}")
        return self

    def in_steps(self, global_batch_size: int, source_size: int | None) -> int | None:
        """Steps that see at least this much; None for epochs of a source of unknown size."""
        if self.steps is not None:
            return self.steps
        samples: float | None = self.samples
        if self.epochs is not None:
            samples = None if source_size is None else self.epochs * source_size
        return None if samples is None else max(1, -int(-samples // global_batch_size))


class PretrainRecipe(_Section):
    """Everything that decides a pre-training run, and nothing about the machine that it runs on."""

    model: ModelSettings
    data: DataSettings = Field(default_factory=DataSettings)
    vocabulary: VocabularySettings = Field(default_factory=VocabularySettings)
    objective: str = "catlip"
    global_batch_size: int = Field(ge=1)
    """Images that one step sees, over all processes."""
    length: Length
    optimiser: OptimiserSettings = Field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    ema: EmaSettings = Field(default_factory=EmaSettings)
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    device_batch_size: int | None = Field(default=None, ge=1)
    """Most images that one device takes at once; more are accumulated. null: all of a process's share."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    log_every: int = Field(default=1, ge=1)
    save_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; there is always one at the end and at a signal."""

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        return _one_of(OBJECTIVES, name)


def _one_of(names: Collection[str], name: str) -> str:
    if name not in names:
        raise ValueError(f"{name!r} is none of: {', '.join(names)}")
    return name


FREE_ON_RESUME = ("data.workers", "log_every", "save_every", "device_batch_size")
"""Keys that do not change what a step sees.

Nor what it does with it, but for one: a tower with BatchNorm takes its statistics over what one device has at
once, so another `device_batch_size` (like another number of processes) changes them, and resuming warns.
"""
