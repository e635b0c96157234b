"""A tagger: a threshold a class fitted on captioned images, measured on others, and written as a checkpoint.

Features are extracted once. Without test images each fifth of the images is measured by thresholds that were
fitted on the other four, and those that are written are fitted on all.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from catlipctl import checkpoints, files
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.errors import DataError, UsageError
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.transfer.features import extract
from catlipctl.transfer.labelled import described
from catlipctl.transfer.metrics.answers import RESULT
from catlipctl.transfer.metrics.intervals import Interval
from catlipctl.transfer.tagging import captions
from catlipctl.transfer.tagging.fitting import Fit, by_threshold, grid_of
from catlipctl.transfer.tagging.heads import tagger_of
from catlipctl.transfer.tagging.measuring import Part, Tagged, measure
from catlipctl.transfer.tagging.scored import Scored

PROTOCOL = "tagging: classes that captions name, told by thresholds on the head's probabilities"
FOLDS = 5
MIN_IMAGES = 20


class ClassTagged(BaseModel):
    """A measured class: test images that have it, the threshold that is written, F1, average precision."""

    label: str
    images: int
    threshold: float
    f1: float
    average_precision: float


class TaggerResult(Measurement):
    """A tagger and what it is worth on the measured classes: those that `min_images` test images have.

    each: by a threshold a class. one: by one for all, which has the highest macro F1 where the others were
    fitted; one_for_micro: the highest micro F1. gain: macro F1 of `each` less that of `one`. all_told: macro
    F1 where every image is told to have every class. macro_map: mean average precision, which no threshold
    decides. own_thresholds: classes that have one of their own; the others have `shared_threshold`, that of
    `one_for_micro`. curve: macro and micro F1 of one threshold, by threshold, over all test images.
    """

    protocol: str = PROTOCOL
    checkpoint: str | None
    target: str
    split: str
    classes: int
    own_thresholds: int
    shared_threshold: float
    measured_classes: int
    min_images: int
    each: Tagged
    one: Tagged
    one_for_micro: Tagged
    gain: float
    gain_interval: Interval
    all_told: float
    macro_map: float
    labels_per_image: float
    train_images: int
    test_images: int
    unreadable: int
    curve: list[tuple[float, float, float]]
    per_class: list[ClassTagged]


def fit_tagger(
    checkpoint: Checkpoint,
    source: Source,
    test: Source | None = None,
    *,
    tags: LabelSet | None = None,
    min_images: int = MIN_IMAGES,
    seed: int = 0,
    out: Path | None = None,
    cache: Path | None = None,
    workers: int = 0,
    progress: Progress = SILENT,
) -> TaggerResult:
    """Fit thresholds to captioned images that the tower was not trained on, and measure the tags.

    test: captioned images to measure on; None measures `source` by fifths. tags: a list in place of the
    vocabulary's classes, with rows by Transfer Init. min_images: a class with fewer gets the shared
    threshold, and with fewer test images is not measured. out: the checkpoint to write; it
    may not exist. cache: as `extract` has it.
    Raises UsageError for a checkpoint that has no vocabulary or whose labels exclude each other, DataError
    where no class has so many images.
    """
    if out is not None:
        files.refuse_taken(out)
    vocabulary = checkpoint.vocabulary
    if vocabulary is None or checkpoint.activation != "sigmoid":
        raise UsageError(
            f"{checkpoint.name} does not tell by itself what captions name",
            "take a run of objective catlip whose loss is of each class by itself, as bce is",
        )
    naming = captions.of_vocabulary(vocabulary)
    tagger = checkpoint
    if tags is not None:
        tagger = tagger_of(checkpoint, tags, progress=progress)
        known = tuple(label for label in tags.labels if label.name in set(tagger.label_names or ()))
        naming = captions.of_tags(replace(tags, labels=known), vocabulary)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tagger.tower.module.to(device)
    unreadable = 0
    sets: list[Scored] = []
    head = tagger.tower.linear_head()
    weight, bias = (part.detach().float().cpu() for part in (head.weight, head.bias))
    for images in (source,) if test is None else (source, test):
        found = extract(tagger.tower, images, cache=cache, workers=workers, progress=progress)
        unreadable += found.unreadable
        told = captions.named(images, naming, len(weight), found.samples, progress)
        sets.append(Scored(found.values, weight, bias, told))
    tagger.tower.module.cpu()
    names = tagger.label_names or list(vocabulary.keys)
    cuts, figures = _figures(
        sets, [tagger.label_descriptions.get(name, name) for name in names], min_images, seed, progress
    )
    result = TaggerResult(
        checkpoint=None if out is None else str(out),
        target="vocabulary" if tags is None else tags.name,
        split=f"each of {FOLDS} parts of the images, by thresholds of the others" if test is None else "test",
        classes=len(weight),
        min_images=min_images,
        train_images=len(sets[0]),
        unreadable=unreadable,
        seed=seed,
        **figures,
    )
    result.inputs = {"checkpoint": checkpoint.name, "data": source.name}
    if test is not None:
        result.inputs["test"] = test.name
    result.data = {"fit": described(source), "test": described(test or source)}
    if out is not None:
        checkpoints.write(
            out,
            tower=tagger.tower,
            vocabulary=tagger.vocabulary,
            label_names=None if tagger.vocabulary is not None else names,
            problem_type=checkpoints.MULTI_LABEL,
            config={"kind": "tagger", "from": checkpoint.name, "thresholds": cuts.sigmoid().tolist()},
            files={RESULT: json.dumps(result.document(), indent=2, ensure_ascii=False) + "\n"},
        )
    return result


def _figures(
    sets: Sequence[Scored], labels: Sequence[str], min_images: int, seed: int, progress: Progress
) -> tuple[Tensor, dict[str, Any]]:
    """The logits `[V]` from which on each class is told, and the figures of `TaggerResult`.

    sets: the images to fit on, and those to measure on where these are others.
    """
    fit, test = sets[0], sets[-1]
    own, ids = fit.often(min_images), test.often(min_images)
    for kind, some in (("", own), ("test ", ids)):
        if not some:
            raise DataError(
                f"no class is named by the captions of {min_images} {kind}images",
                "give more captioned images, or a lower --min-images",
            )
    grid = grid_of(fit, own)
    whole = Fit(fit, own, grid)
    cuts = torch.cat([whole.cuts(block) for block in fit.blocks(range(len(labels)))])
    parts = [Part(None, whole)]
    if len(sets) == 1:
        order = torch.randperm(len(fit), generator=torch.Generator().manual_seed(seed)) % FOLDS
        parts = [Part(order == k, Fit(fit, own, grid, order != k)) for k in range(FOLDS)]
    figures, rows = measure(test, ids, parts, seed, progress)
    shares = test.named.counts[ids].double() / len(test)
    curve = (grid.sigmoid(), *by_threshold(test, ids, grid))
    return cuts, {
        **figures,
        "own_thresholds": len(own),
        "shared_threshold": float(torch.tensor(whole.one_for_micro).sigmoid()),
        "measured_classes": len(ids),
        "all_told": float((2 * shares / (1 + shares)).mean()),
        "macro_map": float(np.mean([row["average_precision"] for row in rows])),
        "labels_per_image": float(shares.sum()),
        "test_images": len(test),
        "curve": list(zip(*(part.tolist() for part in curve), strict=True)),
        "per_class": [
            ClassTagged(label=labels[i], threshold=float(cuts[i].sigmoid()), **row)
            for i, row in zip(ids, rows, strict=True)
        ],
    }
