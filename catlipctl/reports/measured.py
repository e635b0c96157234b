"""What a report reads of an evaluation's `result.json`; figures in 0..1, intervals of 95 %."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]


class Measured(BaseModel):
    """An evaluation of either kind: which tower, which images, and by which protocol.

    measure: what its `figure` is. rival: whose figure is `chance`, what one without any knowledge has.
    """

    model_config = ConfigDict(extra="ignore")

    measure: ClassVar[str]
    rival: ClassVar[str]

    protocol: str
    classes: int
    train_images: int
    test_images: int
    data: dict[str, Any] = {}
    split: str = ""
    seed: int = 0
    random_backbone: bool = False
    init: str = ""

    @property
    def figure(self) -> float:
        """The one by which models are compared."""
        raise NotImplementedError

    @property
    def interval(self) -> Interval | None:
        """Of the figure, as the result has it."""
        raise NotImplementedError

    @property
    def chance(self) -> float:
        """The figure of no knowledge."""
        raise NotImplementedError


class Evaluation(Measured):
    """Of classes that exclude each other."""

    measure: ClassVar = "top-1"
    rival: ClassVar = "largest class"

    acc1: float
    acc1_interval: Interval | None = None
    acc5: float
    acc5_interval: Interval | None = None
    mean_per_class_recall: float
    mean_per_class_recall_interval: Interval | None = None
    zero_shot_acc1: float | None = None
    zero_shot_acc1_interval: Interval | None = None
    majority_share: float

    @property
    def figure(self) -> float:
        """The top-1 accuracy."""
        return self.acc1

    @property
    def interval(self) -> Interval | None:
        """Of the top-1 accuracy."""
        return self.acc1_interval

    @property
    def chance(self) -> float:
        """The largest class's share."""
        return self.majority_share


class ClassPrecision(BaseModel):
    """One class of several that an image may have; None where no test image has it."""

    label: str
    images: int
    average_precision: float | None


class MultiLabelEvaluation(Measured):
    """Of images with several labels each."""

    measure: ClassVar = "macro mAP"
    rival: ClassVar = "chance"

    macro_map: float
    macro_map_interval: Interval | None = None
    micro_map: float
    micro_map_interval: Interval | None = None
    weighted_map: float
    weighted_map_interval: Interval | None = None
    zero_shot_macro_map: float | None = None
    chance_map: float
    empty_classes: int = 0
    labels_per_image: float
    per_class: list[ClassPrecision] = []

    @property
    def figure(self) -> float:
        """The macro mean."""
        return self.macro_map

    @property
    def interval(self) -> Interval | None:
        """Of the macro mean."""
        return self.macro_map_interval

    @property
    def chance(self) -> float:
        """Of answers at random."""
        return self.chance_map


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
    """Of labels that captions name, told by thresholds."""

    measure: ClassVar = "macro F1"
    rival: ClassVar = "every label told"

    each: Tags
    one: Tags
    gain: float
    gain_interval: Interval
    all_told: float
    macro_map: float
    measured_classes: int
    per_class: list[ClassTags]

    @property
    def figure(self) -> float:
        """Macro F1 by a threshold a label."""
        return self.each.macro_f1

    @property
    def interval(self) -> Interval | None:
        """Of macro F1."""
        return self.each.macro_f1_interval

    @property
    def chance(self) -> float:
        """Where every image is told to have every label."""
        return self.all_told
