"""The recipe of a fine-tuning run."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from catlipctl.settings import Epochs, Images, Pixels, Workers
from catlipctl.settings import training as settings
from catlipctl.settings.data import Augmentation, Decode
from catlipctl.settings.models import RangeAugmentSettings
from catlipctl.settings.objectives import ClassificationSettings
from catlipctl.settings.training import Length, OptimiserSettings, ScheduleSettings, TrainingSettings

Init = Literal["transfer", "random"]
Mapping = Literal["heads", "paper"]
Rows = Literal["plain", "calibrated"]
Loss = Literal["cross_entropy", "bce"]
Learns = Literal["all", "classifier"]


class FinetuneRecipe(TrainingSettings):
    """Everything that decides a fine-tuning run. Rates suit a few thousand images and a small tower."""

    shown_by: ClassVar = "catlipctl recipe keys --of ft lists every key"

    checkpoint: str
    """The tower to start from: `--checkpoint`."""
    sources: list[str] = Field(default_factory=list)
    """The training images, and the test images where they are another source: `--data`, `--test`."""
    target: str | None = None
    """The label set whose labels the class names are; null: names looked up in WordNet. `--target`."""
    train_size: str = Field(default="100%", pattern=r"^([1-9][0-9]{0,6}/class|[0-9]{1,3}(\.[0-9]+)?%)$")
    """The training images used: so many a class (`5/class`) or a share of each (`10%`). The seed decides
    which, the same ones as of a probe. `--train-size`"""
    random_backbone: bool = False
    """The control: the same tower, untrained. `--random-backbone`"""
    init: Init = "transfer"
    """The classifier at the start: rows of the pre-training head, or fresh ones. [CatLIP 4.2]"""
    mapping: Mapping = "heads"
    """How class names meet the vocabulary: by their head nouns, or as in the paper. [CatLIP 4.2]"""
    rows: Rows = "plain"
    """The rows of Transfer Init: copies of the head's, or smoothed over WordNet and of one length. Where an
    image may have several classes they are plain. `--rows` [plain in CatLIP 4.2]"""
    loss: Loss | None = None
    """`cross_entropy` of classes that exclude each other, or `bce`, summed over the classes, where an image
    may have several; null: as the label set or the images say. `--multi-label`, `--exclusive`.
    [CatLIP 3.1]"""
    learns: Learns = "all"
    """`all` weights, or the `classifier` alone: a linear probe by training. The tower is then as in
    evaluation: without dropout, and with the running statistics of its BatchNorm. [CatLIP 4, LP and FT]"""
    classifier_norm: bool = False
    """A BatchNorm without weights before the classifier, where that alone learns; the written classifier has
    it folded in. Statistics are over what a device has at once. [MAE's linear probe]"""
    image_size: Pixels | None = None
    """Pixels a side, to which position embeddings are resampled; null: the checkpoint's own.
    [CatLIP Table 2: 224 and 512]"""
    crop_pct: float | None = Field(default=None, gt=0, le=1)
    """Share of the resized image that evaluation crops; null: the tower's own.
    [released code: 224 of 232, and all of 512]"""
    range_augment: RangeAugmentSettings | None = None
    """Brightness, contrast and noise whose ranges are learned; null: none. [released code: 40 to 20 dB]"""
    label_base: int | None = Field(default=None, ge=0, le=1)
    """Numbers as labels are rows of the target: the number of the first row. `--label-base`."""
    classification: ClassificationSettings = Field(
        default_factory=lambda: ClassificationSettings(label_smoothing=0.1)
    )
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    """Each block's learning rate over that of the block after it; the classifier's is the whole.
    [Bao et al. 2022, BEiT]"""
    augmentation: Augmentation = Field(default_factory=Augmentation)
    decode: Decode = "fast"
    """How JPEGs become crops: `exact` has Pillow's pixels to the bit, `fast` takes half the time or less."""
    workers: Workers = 0
    """Processes that decode, beside each training process."""
    evaluate_epochs: Epochs | None = None
    """Epochs between evaluations on the way; null: at the end alone."""
    global_batch_size: Images = 64
    """Images that one step sees, over all processes; with `sizes`, a step at the model's own size."""
    length: Length = Length(epochs=20)
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, weight_decay=0.05)
    schedule: ScheduleSettings = ScheduleSettings(warmup_steps=50)

    @model_validator(mode="after")
    def _normed(self) -> "FinetuneRecipe":
        if self.classifier_norm and (self.learns, self.init, self.compile) != ("classifier", "random", False):
            raise ValueError(
                "classifier_norm is for learns=classifier, init=random and compile=false: a classifier on "
                "standardised features has no rows of another head's scale, and is outside the compiled tower"
            )
        return self

    @property
    def multi_label(self) -> bool | None:
        """Whether an image may have several classes; None: as the label set or the images say."""
        return None if self.loss is None else self.loss == "bce"


FREE_ON_RESUME = settings.FREE_ON_RESUME | {"workers", "sources", "evaluate_epochs"}
"""Keys that may change on resuming."""

FIXED_ON_RESUME = {
    **settings.FIXED_ON_RESUME,
    "checkpoint": "the weights began as its",
    "target": "the classifier has an output for each of its classes",
    "train_size": "these images were trained on",
    "random_backbone": "the weights began so",
    "init": "the classifier began by it",
    "mapping": "the classifier began by it",
    "rows": "the classifier began by them",
    "learns": "the optimiser's moments are of what learns",
    "classifier_norm": "the classifier learned on such features",
    "image_size": "its positions are of this size",
    "range_augment": "its ranges are learned with the weights",
    "loss": "it says how many classes an image may have",
    "label_base": "it says which class a number means",
}
"""Keys and sections that may not change even where changes are allowed -> why."""
