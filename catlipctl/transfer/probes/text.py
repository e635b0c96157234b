"""Zero-shot by a text tower: a class is what its name says, in open_clip's sentences (CLIP, 3.1.4)."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from catlipctl.checkpoints import OPEN_CLIP_CONFIG, Checkpoint
from catlipctl.labels import wordnet
from catlipctl.labels.targets import LabelSet
from catlipctl.labels.targets.labelset import names_of, spoken
from catlipctl.models.text import tokenise

PROTOCOL = "zero-shot by text: open_clip's 80 templates for ImageNet, the mean of a class's sentences"


def has_text_tower(checkpoint: Checkpoint) -> bool:
    """Whether open_clip can open the checkpoint, text tower and all."""
    return checkpoint.path is not None and (checkpoint.path / OPEN_CLIP_CONFIG).is_file()


def class_names(classes: LabelSet) -> list[str]:
    """What people call each class: its name as it is spoken, or of a wnid the synset's first word."""
    graph = wordnet.nouns()
    keys = [label.name for label in classes.labels if label.name in graph]
    words = dict(zip(keys, names_of(keys, graph), strict=True))
    return [words.get(label.name) or spoken(label.name) for label in classes.labels]


def text_rows(checkpoint: Checkpoint, classes: LabelSet) -> Tensor:
    """`[K, E]`, float64, of length one: the mean of each class's sentences, as open_clip makes it."""
    import open_clip

    model = open_clip.create_model(f"local-dir:{checkpoint.path}").eval()
    rows: Tensor = open_clip.build_zero_shot_classifier(
        model,
        partial(tokenise, context_length=model.context_length),
        class_names(classes),
        open_clip.OPENAI_IMAGENET_TEMPLATES,
    )
    return rows.T.double()


def text_logits(checkpoint: Checkpoint, values: Tensor, classes: LabelSet) -> Tensor:
    """`[N, K]`, float64: cosines of images and classes. values: `[N, D]`, what the projection is given."""
    with torch.inference_mode():
        embedded = checkpoint.tower.head(values).double()
        return F.normalize(embedded, dim=1) @ text_rows(checkpoint, classes).T
