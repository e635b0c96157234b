"""SuperClass's objective: the sub-words of captions by a softmax, weighed by inverse document frequency.

As its code has it (`ClsLoss`): all 49,408 sub-words of CLIP are classes; start, end and padding are among
them, and lose their weight as all captions have them. The tower `vit_base_patch16_superclass_224` has its
head, too: a norm of each patch, their mean, another norm, and a linear layer.
"""

from typing import ClassVar

from catlipctl.objectives.catlip import Catlip
from catlipctl.settings.losses import LabelSettings, SuperclassSettings


class Superclass(Catlip):
    """Cross-entropy of the softmax over sub-words against a caption's, by their weights (SuperClass 3.2)."""

    defaults: ClassVar[LabelSettings] = SuperclassSettings()
    extractor: ClassVar[str] = "subword"
    undecayed = frozenset({"model.cls_token"})  # a vector in its code, as in open_clip's
