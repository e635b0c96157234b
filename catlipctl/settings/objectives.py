"""What is learned from a batch: the names of pre-training's objectives, and what each may be told."""

from pydantic import Field

from catlipctl.recipe.schema import Section
from catlipctl.settings.models import TextSettings

OBJECTIVES = ("catlip", "clip", "siglip", "superclass", "superclip")
"""What a pre-training recipe may name."""
WITH_TEXT = ("clip", "siglip", "superclip")
"""Those with a text tower."""


class ClipSettings(Section):
    """Of objectives with a text tower: what images and texts are compared by, and the tower."""

    embed_dim: int = Field(default=512, ge=1, le=2**16)
    """Numbers that an image and a text are compared by. [open_clip's ViT-B]"""
    text: TextSettings = Field(default_factory=TextSettings)


class SuperclipSettings(ClipSettings):
    """Of objective `superclip`: as of clip, and the classification beside it."""

    classification_weight: float = Field(default=1.0, ge=0, le=1000)
    """How often the loss of classification counts; the contrast counts once. [SuperCLIP: 1]"""
    idf: bool = True
    """Weigh a label by its inverse document frequency, counted as the run goes. [SuperCLIP]"""


class ClassificationSettings(Section):
    """Cross-entropy over exclusive classes."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all classes. [Szegedy et al. 2016, 7]"""
