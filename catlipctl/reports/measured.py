"""What a report reads of an evaluation's `result.json`; figures in 0..1, intervals of 95 %."""

from typing import Any, ClassVar

from pydantic import AliasPath, BaseModel, ConfigDict, Field

Interval = tuple[float, float]


class Measured(BaseModel):
    """An evaluation of any kind: which tower, which images, by which protocol, and its figure.

    Each kind reads the figures that all have from fields of its own. measure: what `figure` is, the one by
    which models are compared. rival: whose figure `chance` is, what one without any knowledge has. zero_shot:
    the same measure without any label.
    """

    model_config = ConfigDict(extra="ignore")

    measure: ClassVar[str]
    rival: ClassVar[str]

    figure: float
    interval: Interval | None = None
    chance: float
    zero_shot: float | None = None
    zero_shot_interval: Interval | None = None

    protocol: str
    classes: int
    train_images: int
    test_images: int
    data: dict[str, Any] = {}
    split: str = ""
    seed: int = 0
    random_backbone: bool = False
    init: str = ""


class Evaluation(Measured):
    """Of classes that exclude each other: top-1 accuracy, beside the largest class's share."""

    measure: ClassVar = "top-1"
    rival: ClassVar = "largest class"

    figure: float = Field(validation_alias="acc1")
    interval: Interval | None = Field(None, validation_alias="acc1_interval")
    chance: float = Field(validation_alias="majority_share")
    zero_shot: float | None = Field(None, validation_alias="zero_shot_acc1")
    zero_shot_interval: Interval | None = Field(None, validation_alias="zero_shot_acc1_interval")

    acc5: float
    acc5_interval: Interval | None = None
    mean_per_class_recall: float
    mean_per_class_recall_interval: Interval | None = None


class ClassPrecision(BaseModel):
    """One class of several that an image may have; None where no test image has it."""

    label: str
    images: int
    average_precision: float | None


class MultiLabelEvaluation(Measured):
    """Of images with several labels each: the macro mean of average precision, beside answers at random."""

    measure: ClassVar = "macro mAP"
    rival: ClassVar = "chance"

    figure: float = Field(validation_alias="macro_map")
    interval: Interval | None = Field(None, validation_alias="macro_map_interval")
    chance: float = Field(validation_alias="chance_map")
    zero_shot: float | None = Field(None, validation_alias="zero_shot_macro_map")

    micro_map: float
    micro_map_interval: Interval | None = None
    weighted_map: float
    weighted_map_interval: Interval | None = None
    empty_classes: int = 0
    labels_per_image: float
    per_class: list[ClassPrecision] = []


class Tags(BaseModel):
    """What tags are worth that are told by thresholds of one kind."""

    macro_f1: float
    macro_f1_interval: Interval
    micro_f1: float
    micro_f1_interval: Interval


class ClassTags(BaseModel):
    """One label of a tagger: test images that have it, its threshold, F1 and average precision."""

    label: str
    images: int
    threshold: float
    f1: float
    average_precision: float


class TaggerEvaluation(Measured):
    """Of labels that captions name: macro F1 by a threshold a label, beside every label told."""

    measure: ClassVar = "macro F1"
    rival: ClassVar = "every label told"

    figure: float = Field(validation_alias=AliasPath("each", "macro_f1"))
    interval: Interval | None = Field(None, validation_alias=AliasPath("each", "macro_f1_interval"))
    chance: float = Field(validation_alias="all_told")

    each: Tags
    one: Tags
    gain: float
    gain_interval: Interval
    macro_map: float
    measured_classes: int
    per_class: list[ClassTags]
