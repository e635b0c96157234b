"""Zero-shot by a text tower: a class is what its name says, in open_clip's sentences (CLIP, 3.1.4)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from catlipctl.checkpoints import Checkpoint
from catlipctl.labels import wordnet
from catlipctl.labels.targets import LabelSet
from catlipctl.labels.targets.labelset import names_of, spoken

PROTOCOL = "zero-shot by text: open_clip's 80 templates for ImageNet, the mean of a class's sentences"


def has_text_tower(checkpoint: Checkpoint) -> bool:
    """Whether a text tower that reads CLIP's tokens belongs to the checkpoint."""
    return checkpoint.both_towers is not None


def class_names(classes: LabelSet) -> list[str]:
    """What people call each class: its name as it is spoken, or of a wnid the synset's first word."""
    graph = wordnet.nouns()
    keys = [label.name for label in classes.labels if label.name in graph]
    words = dict(zip(keys, names_of(keys, graph), strict=True))
    return [words.get(label.name) or spoken(label.name) for label in classes.labels]


@torch.inference_mode()
def text_rows(checkpoint: Checkpoint, classes: LabelSet) -> Tensor:
    """`[K, E]`, float64, of length one: the mean of each class's sentences, as open_clip makes it."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    assert checkpoint.both_towers is not None, "who asks has asked has_text_tower"
    tower = checkpoint.both_towers.text_tower()
    rows = []
    for name in class_names(classes):
        sentences = tower.features([sentence(name) for sentence in OPENAI_IMAGENET_TEMPLATES])
        rows.append(F.normalize(F.normalize(sentences, dim=1).mean(0), dim=0))
    return torch.stack(rows).double()


def text_logits(checkpoint: Checkpoint, values: Tensor, classes: LabelSet) -> Tensor:
    """`[N, K]`, float64: cosines of images and classes. values: `[N, D]`, what the projection is given."""
    assert checkpoint.both_towers is not None, "who asks has asked has_text_tower"
    projection = checkpoint.both_towers.projection(checkpoint.tower)
    with torch.inference_mode():
        embedded = projection(values).double()
        return F.normalize(embedded, dim=1) @ text_rows(checkpoint, classes).T
