"""The recipe of a pre-training run: one section a component, each with its component's own schema."""

from collections.abc import Collection
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from catlipctl.data import Augmentation
from catlipctl.data.transform import Decode
from catlipctl.labels import EXTRACTORS
from catlipctl.models import ModelSettings
from catlipctl.models.range_augment import RangeAugmentSettings
from catlipctl.objectives import OBJECTIVES
from catlipctl.objectives.clip import ClipSettings
from catlipctl.training import settings
from catlipctl.training.resuming import Rules
from catlipctl.training.settings import TrainingSettings


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
    decode: Decode = "fast"
    """How JPEGs become crops: `exact` has Pillow's pixels to the bit, `fast` takes half the time or less."""
    window: int | None = Field(default=None, ge=1)
    """Shards whose samples are mixed, for storage that is slow at random; null: all samples."""
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


class PretrainRecipe(TrainingSettings):
    """Everything that decides a pre-training run, and nothing about the machine that it runs on."""

    shown_by: ClassVar = "catlipctl pretrain --dry-run shows every key"

    model: ModelSettings
    data: DataSettings = Field(default_factory=DataSettings)
    vocabulary: VocabularySettings = Field(default_factory=VocabularySettings)
    objective: str = "catlip"
    clip: ClipSettings | None = None
    """Of objective clip: its text tower."""
    range_augment: RangeAugmentSettings | None = None
    """Brightness, contrast and noise whose ranges are learned; null: none."""

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        return _one_of(OBJECTIVES, name)

    @model_validator(mode="after")
    def _fitting(self) -> "PretrainRecipe":
        if self.clip is not None and self.objective != "clip":
            raise ValueError(f"section clip: the objective is {self.objective}, which does not read it")
        return self


def _one_of(names: Collection[str], name: str) -> str:
    if name not in names:
        raise ValueError(f"{name!r} is none of: {', '.join(names)}")
    return name


RULES = Rules(
    # Where data lies is free: what it holds is compared by itself.
    free=settings.FREE_ON_RESUME | {"data.workers", "data.sources", "vocabulary.path"},
    fixed={
        **settings.FIXED_ON_RESUME,
        "model": "the weights are of this tower",
        "objective": "the weights were learned by this one",
        "clip": "the weights are of this text tower",
        "range_augment": "its ranges are learned with the weights",
        "vocabulary": "the head has an output for each of its classes",
    },
)
"""What may change while a run goes on, and what may not."""
