"""The recipe of a pre-training run: one section a component."""

import re
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from catlipctl.labels import EXTRACTORS
from catlipctl.recipe.schema import Section
from catlipctl.settings import Images, Steps, Workers
from catlipctl.settings import training as settings
from catlipctl.settings.data import Augmentation, CaptionSettings, Decode
from catlipctl.settings.losses import CatlipSettings, SuperclassSettings
from catlipctl.settings.models import ModelSettings, RangeAugmentSettings
from catlipctl.settings.objectives import OBJECTIVES, WITH_TEXT, ClipSettings, SuperclipSettings
from catlipctl.settings.training import TrainingSettings

_OWN = re.compile(r"(?!\d)\w+(\.(?!\d)\w+)*:(?!\d)\w+")
"""How an objective of one's own is named."""


class DataSettings(Section):
    """Where the pairs come from, and how their images are altered."""

    sources: list[str] = Field(default_factory=list)
    """SOURCEs of image-text pairs: `--data`."""
    image_key: str | None = None
    """Column or extension that holds the image; null: the usual ones. `--image-key`."""
    caption_keys: list[str] = Field(default_factory=list)
    """Where captions are; none: the usual places. `--caption-key`."""
    captions: CaptionSettings = Field(default_factory=CaptionSettings)
    strict: bool = False
    """Stop at the first damaged shard. `--strict`."""
    workers: Workers = 0
    """Processes that decode, beside each training process."""
    decode: Decode = "fast"
    """How JPEGs become crops: `exact` has Pillow's pixels to the bit, `fast` takes half the time or less."""
    epoch_of: Literal["images", "captions"] = "images"
    """What an epoch has once: each image, or each distinct caption with one of its images, in turn.
    Where many images have one caption, as the drawings of an emoji, a contrast of them is noise."""
    window: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Shards whose samples are mixed, for storage that is slow at random; null: all samples.
    With it, remote tars are read as a stream: whole, one after the other, ahead of the step."""
    stream_cache_gib: Annotated[float, Field(gt=0, le=10**6)] = 64
    """GiB of disk that a machine gives to a stream's shards: two windows' worth, or more."""
    stream_local: bool = False
    """Read local tars as a stream, too, as of a mount that is slow at random."""
    augmentation: Augmentation = Field(default_factory=Augmentation)

    @model_validator(mode="after")
    def _at_random(self) -> "DataSettings":
        if self.window is not None and self.epoch_of == "captions":
            raise ValueError("window: an epoch of captions wants images at random, not a window of shards")
        return self


class VocabularySettings(Section):
    """The vocabulary: a file, or how to count one over the sources."""

    path: str | None = None
    """A vocabulary.json; null: counted over the sources. `--vocab`."""
    extractor: str | None = None
    """What makes labels of captions; null: that of the file, or the objective's:
    corenet, or subword of superclass and superclip, which learn all 49,408 sub-words where nothing else
    is said here."""
    threshold: Annotated[int, Field(ge=0, le=10**13)] | None = None
    """Keys that count more are kept; null: 500, or 0 where `max_size` is given. [CatLIP 3.2]"""
    max_size: Annotated[int, Field(ge=1, le=10**7)] | None = None
    """The most frequent keys are kept, so many. [24,320 in the released code]"""
    count: Literal["occurrences", "captions"] | None = None
    """What counts; null: occurrences, or captions for sub-words. [CatLIP 3.2; SuperClass]"""

    @field_validator("extractor")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return name and _one_of(EXTRACTORS, name)


class ValidationSettings(Section):
    """Held-out pairs on which the run is measured as it goes: rows of `evaluations.jsonl`."""

    sources: list[str]
    """SOURCEs of pairs that are not trained on. Keys of images and captions are those of `data`."""
    every: Steps = 1000
    """Steps between measurements; the last step always has one."""
    samples: Annotated[int, Field(ge=1, le=10**6)] = 4096
    """Most pairs to take, evenly spread over the sources."""
    batch: Images = 256
    """Most images that a process takes at once. Objectives with a text tower contrast the pairs
    of such a batch."""


class PretrainRecipe(TrainingSettings):
    """Everything that decides a pre-training run, and nothing about the machine that it runs on."""

    shown_by: ClassVar = "catlipctl recipe keys --of pretrain lists every key"

    model: ModelSettings
    data: DataSettings = Field(default_factory=DataSettings)
    vocabulary: VocabularySettings = Field(default_factory=VocabularySettings)
    objective: str = "catlip"
    """`catlip`: the labels of the captions, by binary cross-entropy. `clip`: the captions, by contrast.
    `siglip`: the captions, pair by pair. `superclass`: the sub-words of the captions, by a softmax.
    `superclip`: `clip` and `superclass` at once. `package.module:Class`: one of your own.
    [CatLIP 3.1; Radford et al. 2021; Zhai et al. 2023; SuperClass; SuperCLIP]"""
    catlip: CatlipSettings | None = None
    """Of objective catlip: the loss over classes, and the weights of labels."""
    superclass: SuperclassSettings | None = None
    """Of objective superclass: the loss over classes, and the weights of labels."""
    clip: ClipSettings | None = None
    """Of objective clip: its text tower."""
    siglip: ClipSettings | None = None
    """Of objective siglip: its text tower."""
    superclip: SuperclipSettings | None = None
    """Of objective superclip: its text tower, and the classification beside."""
    objective_args: dict[str, Any] = Field(default_factory=dict)
    """Of an objective of your own: what its `build` is given."""
    range_augment: RangeAugmentSettings | None = None
    """Brightness, contrast and noise whose ranges are learned; null: none."""
    validation: ValidationSettings | None = None
    """Held-out pairs on which the run is measured as it goes; null: none."""

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        return name if _OWN.fullmatch(name) else _one_of((*OBJECTIVES, "package.module:Class"), name)

    @model_validator(mode="after")
    def _fitting(self) -> "PretrainRecipe":
        for name in OBJECTIVES:
            if name != self.objective and getattr(self, name, None) is not None:
                raise ValueError(f"section {name}: the objective is {self.objective}, which does not read it")
        if self.objective_args and self.objective in OBJECTIVES:
            raise ValueError(f"objective_args: objective {self.objective} reads section {self.objective}")
        captions = self.data.captions
        if captions.use == "each" and not captions.weights and self.objective in WITH_TEXT:
            raise ValueError(
                "data.captions.use: each: give data.captions.weights, one for each caption: "
                f"{self.objective} has a loss on each, of as many for every image"
            )
        return self

    def token_drop(self) -> tuple[float, float]:
        """As the tower's section says."""
        return self.model.token_drop, self.model.unmasked_tuning

    @property
    def one_caption(self) -> bool:
        """Whether one of an image's captions is learned from at a time."""
        use = self.data.captions.use
        return self.objective in WITH_TEXT if use is None else use == "one"

    @property
    def objective_settings(self) -> Section | dict[str, Any] | None:
        """The section of the objective, None where it is not given; the arguments of one of your own."""
        if self.objective not in OBJECTIVES:
            return self.objective_args
        section: Section | None = getattr(self, self.objective, None)
        return section

    def warnings(self, steps: int) -> list[str]:
        """What does not fit a run of `steps`, or what it is measured on."""
        held_out = [] if self.validation is None else self.validation.sources
        return super().warnings(steps) + [
            f"validation.sources: {source} is trained on, too, so it measures what is remembered"
            for source in held_out
            if source in self.data.sources
        ]


def _one_of(names: Collection[str], name: str) -> str:
    if name not in names:
        raise ValueError(f"{name!r} is not one of: {', '.join(names)}")
    return name


FREE_ON_RESUME = settings.FREE_ON_RESUME | {
    *("data.workers", "data.sources", "data.stream_cache_gib", "vocabulary.path", "validation"),
    *(f"validation.{key}" for key in ValidationSettings.model_fields),
}
"""Keys that may change on resuming. Where data lies is one: what it holds is compared by itself."""

FIXED_ON_RESUME = {
    **settings.FIXED_ON_RESUME,
    **{
        f"model.{key}": "the weights are of this tower"
        for key in ModelSettings.model_fields.keys() - {"token_drop", "unmasked_tuning"}
    },
    "objective": "the weights were learned by this one",
    "clip": "the weights are of this text tower",
    "siglip": "the weights are of this text tower",
    "superclip.embed_dim": "the weights are of this projection",
    "superclip.text": "the weights are of this text tower",
    "superclip.idf": "the counts of labels are a part of the run's state",
    "catlip.idf": "the counts of labels are a part of the run's state",
    "superclass.idf": "the counts of labels are a part of the run's state",
    "range_augment": "its ranges are learned with the weights",
    "vocabulary": "the head has an output for each of its classes",
}
"""Keys and sections that may not change even where changes are allowed -> why."""
