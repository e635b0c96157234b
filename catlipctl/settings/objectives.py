"""What is learned from a batch: the names of pre-training's objectives, and what each may be told."""

from pydantic import Field

from catlipctl.recipe.schema import Section
from catlipctl.settings.models import TextSettings

OBJECTIVES = ("catlip", "clip", "superclass")
"""What a pre-training recipe may name."""


class ClipSettings(Section):
    """Of objective `clip`: what images and texts are compared by, and the text tower."""

    embed_dim: int = Field(default=512, ge=1, le=2**16)
    """Numbers that an image and a text are compared by. [open_clip's ViT-B]"""
    text: TextSettings = Field(default_factory=TextSettings)


class ClassificationSettings(Section):
    """Cross-entropy over exclusive classes."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all classes. [Szegedy et al. 2016, 7]"""
