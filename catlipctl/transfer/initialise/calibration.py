"""Rows of binary classes made fit for classes that exclude each other.

Pre-training learns each class by itself against all images without it, most classes from few images. Where
their logits compete in a softmax, two things are wrong with the rows:

    noise   a class of twenty captions has a row that says as much of these twenty images as of the class. Its
            relatives in WordNet have learned much of the same: a row becomes the mean over all classes of the
            vocabulary, weighted by `DECAY` to the power of the edges to each
    scale   the more captions a class has, the longer its row, and long rows win. All get the same length

The bias is smoothed in the same way. It no longer says where a logit's mean is, for rows of another length
have another mean. So calibrated rows want their logits centred on unlabelled images, as zero-shot and the
probes do. Without any image they are no better than plain ones.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from catlipctl.labels import wordnet

Rows = Literal["plain", "calibrated"]
"""The paper's copies of the head's rows (CatLIP 4.2), or these."""
DECAY = 1 / 3
"""Weight of a class for each edge to it. Held-out captions of Flickr8k prefer 1/4 or 1/5 for classes of up to
100 captions, by the area under the ROC curve of images; from 1/2 to 1/4 zero-shot changes by a point.
"""
CHUNK = 256
"""Rows made at once: as many times the vocabulary's size are their weights."""


def smoothed(rows: Tensor, synsets: Sequence[str], wanted: Sequence[int]) -> Tensor:
    """`rows` `[V, D]` of the classes `synsets`, those at the places `wanted` smoothed over WordNet.

    Keys that are no synsets take no part.
    """
    graph = wordnet.nouns()
    known = [place for place, key in enumerate(synsets) if key in graph]
    result = rows.clone()
    candidates, learned = [synsets[place] for place in known], rows[known]
    for start in range(0, len(wanted), CHUNK):
        places = wanted[start : start + CHUNK]
        edges = np.stack(list(graph.edges([synsets[place] for place in places], candidates)))
        weights = torch.from_numpy(DECAY**edges).to(rows.dtype)
        result[places] = weights / weights.sum(1, keepdim=True) @ learned
    return result
