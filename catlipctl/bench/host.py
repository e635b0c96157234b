"""What the host does for a batch: captions to labels or tokens, by the objective's own collator.

It runs in the loader's workers while the device steps: it costs cores, and time only where there are too few.
"""

import pickle
import time
from collections.abc import Sequence

import numpy as np

from catlipctl.bench.comparison import CLASSES
from catlipctl.bench.learners import has_text_tower
from catlipctl.bench.step_result import HostTime
from catlipctl.data.sample import Sample
from catlipctl.labels import SUBWORDS, extractor
from catlipctl.models import text
from catlipctl.objectives import Objective, find
from catlipctl.objectives.objective import Encode
from catlipctl.vocabulary import Encoder, of_sub_words, pruned
from catlipctl.vocabulary.counts import count

AT_ONCE = 64
"""Captions of a chunk, as loaders have them."""


def encoders(objectives: Sequence[str], captions: Sequence[str], source: str) -> dict[str, Encode]:
    """For each objective what would make its labels, with a vocabulary of these captions.

    TooFewLabels where they have fewer than 100.
    """
    made: dict[str, Encode] = {}
    for objective in objectives:
        name = find(objective).extractor
        if name in SUBWORDS:
            made[objective] = Encoder(of_sub_words(name))
            continue
        counts = count(((caption,) for caption in captions), extractor(name))
        made[objective] = Encoder(pruned(counts, extractor=name, source=source, max_size=CLASSES))
    return made


def host_time(name: str, objective: Objective, captions: Sequence[str]) -> HostTime:
    """Seconds of a core a caption, of the objective of that name: once in a collator that has met none
    before, and once more.
    """
    samples = [Sample(str(number), None, (caption,)) for number, caption in enumerate(captions)]
    positions = np.arange(len(samples))
    # A copy has an empty memory; the tokeniser is one a process, and remembers words.
    collate = pickle.loads(pickle.dumps(objective.collate))
    text._tokenizer.cache_clear()
    collate(samples[:1], positions[:1])
    seconds = []
    for _ in range(2):
        begun = time.process_time()
        for start in range(0, len(samples), AT_ONCE):
            collate(samples[start : start + AT_ONCE], positions[start : start + AT_ONCE])
        seconds.append((time.process_time() - begun) / len(samples))
    labels, tokens = objective.needs_classes, has_text_tower(name)
    return HostTime(
        makes="labels and tokens" if labels and tokens else "labels" if labels else "tokens",
        first=seconds[0],
        again=seconds[1],
    )
