"""How images are held against the labels of their captions: a loss over classes, and weights of labels."""

from typing import Literal

from pydantic import Field

from catlipctl.recipe.schema import Section

Loss = Literal["bce", "softmax", "asymmetric", "two_way", "soft_margin"]


class AsymmetricSettings(Section):
    """Of loss asymmetric (ASL, Ridnik et al. 2021): negatives that are easy or wrong count little."""

    negative_focus: float = Field(default=4.0, ge=0, le=100)
    """The power of a negative's probability that its term is times. [ASL: gamma-]"""
    positive_focus: float = Field(default=0.0, ge=0, le=100)
    """The power of one minus a positive's probability that its term is times. [ASL: gamma+]"""
    margin: float = Field(default=0.05, ge=0, lt=1)
    """What is taken off a negative's probability; one below it counts nothing. [ASL: m]"""


class TwoWaySettings(Section):
    """Of loss two_way (Kobayashi 2023): its softmax over positives and that over negatives."""

    positive_temperature: float = Field(default=4.0, gt=0, le=1000)
    """What the logits of positives are divided by. [Kobayashi 2023: T]"""
    negative_temperature: float = Field(default=1.0, gt=0, le=1000)
    """What the logits of negatives are divided by. [Kobayashi 2023]"""


class LabelSettings(Section):
    """What learning from labels may be told."""

    loss: Loss = "bce"
    """`bce`: each class by itself, summed over classes. `softmax`: cross-entropy against the labels' weights,
    which sum to 1; an image without a label adds nothing. `asymmetric`: bce in which easy negatives count
    little. `two_way`: positives above negatives, within an image and within a class; the latter sees one
    piece of a step, so it depends on `device_batch_size` and on the number of processes. `soft_margin`:
    torch's, which is bce over the number of classes. The mean is over all images.
    [SuperClass Table 6]"""
    idf: bool = False
    """Weigh a label by its inverse document frequency, counted as the run goes. [SuperClass 3.2]"""
    asymmetric: AsymmetricSettings = Field(default_factory=AsymmetricSettings)
    two_way: TwoWaySettings = Field(default_factory=TwoWaySettings)


class CatlipSettings(LabelSettings):
    """Of objective catlip: the loss over classes, and the weights of labels."""


class SuperclassSettings(LabelSettings):
    """Of objective superclass: the loss over classes, and the weights of labels."""

    loss: Loss = "softmax"
    """As in `catlip.loss`. [SuperClass 3.2]"""
    idf: bool = True
    """Weigh a label by its inverse document frequency, counted as the run goes. [SuperClass 3.2]"""
