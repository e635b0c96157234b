"""A classifier that needs no label: the rows that Transfer Init made, centred on unlabelled images."""

import time
from pathlib import Path

import torch
from torch import Tensor

from catlipctl.errors import CheckpointError
from catlipctl.labels.targets import How
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.transfer.initialise import Rows, TransferredHead, prior_rows
from catlipctl.transfer.metrics import Answers, Interval, share, top_k_hits
from catlipctl.transfer.probes.frozen import Frozen, Probed, answers, answers_of, write
from catlipctl.transfer.probes.samples import mean
from catlipctl.transfer.probes.solver import Fit
from catlipctl.transfer.probes.text import PROTOCOL as TEXT_PROTOCOL
from catlipctl.transfer.probes.text import has_text_tower, text_logits

PROTOCOL = "zero-shot: {rows} rows of Transfer Init, centred on the unlabelled training images"


class ZeroShotResult(Probed, Measurement):
    """What a pre-training head says of the test images without any label; all figures in 0..1, the intervals
    `metrics.interval`'s.

    prior: how the classes' rows were made; empty of a text tower, which makes them of the classes' names.
    rows: plain or calibrated ones; None of a text tower.
    train_images: unlabelled ones, on which the logits are centred; 0 where they are not.
    exact_acc1, rest_acc1: over the test images of the `exact_classes` that the vocabulary has itself, and
    over the others'; None where there are none.
    """

    protocol: str
    acc1: float
    acc1_interval: Interval
    acc5: float
    acc5_interval: Interval
    mean_per_class_recall: float
    mean_per_class_recall_interval: Interval
    majority_share: float
    train_images: int
    test_images: int
    classes: int
    prior: dict[How, int]
    rows: Rows | None = None
    exact_classes: int = 0
    exact_acc1: float | None = None
    rest_acc1: float | None = None


def zero_shot(training: Tensor, prior: Tensor) -> Fit:
    """The classifier W0 with each class's mean logit over the training images `[N, D]` at 0.

    No label is used, but the training images are. A pre-training head's own bias, which needs no image,
    is the log-odds of rare binary classes: with it zero-shot is worse.
    """
    return Fit(prior, -prior @ mean(training))


def by_exactness(answered: Answers, head: TransferredHead) -> tuple[float | None, float | None]:
    """Top-1 over the test images of the classes with an exact row, and over the others'; None of no image."""
    hits = top_k_hits(answered.logits, answered.labels, 1)
    exact = torch.tensor([row.how == "exact" for row in head.account])[answered.labels]
    exactly, rest = (share(hits[some]) if some.any() else None for some in (exact, ~exact))
    return exactly, rest


def zero_shot_of(found: Frozen, *, out: Path | None = None, progress: Progress = SILENT) -> ZeroShotResult:
    """Zero-shot on extracted features, by the text tower where there is one; written to the folder `out`, as
    `write` does.

    Raises CheckpointError where no class has a row: after a warning that says why.
    """
    started, sets = time.monotonic(), found.sets
    by_text = has_text_tower(found.checkpoint) and not found.random_backbone
    head = None if by_text else found.head(progress)
    if by_text:
        answered = answers_of(text_logits(found.checkpoint, sets.test.values, sets.classes), sets)
    elif head is not None:
        answered = answers(zero_shot(sets.train.values, prior_rows(head)), sets)
    else:
        raise CheckpointError(
            f"no zero-shot by {found.checkpoint.name}: no class has a row in its head",
            "take a run of objective catlip or clip, or a timm model with ImageNet's classes; --target says "
            "what the classes mean",
        )
    exact, rest = (None, None) if head is None else by_exactness(answered, head)
    result = ZeroShotResult(
        protocol=TEXT_PROTOCOL if head is None else PROTOCOL.format(rows=head.rows),
        **answered.figures(found.seed),
        **found.probed(time.monotonic() - started),
        confused=answered.confused(found.class_names),
        train_images=0 if by_text else len(sets.train.labels),
        classes=len(sets.classes),
        prior={} if head is None else head.counts(),
        rows=None if head is None else head.rows,
        exact_classes=0 if head is None else head.counts()["exact"],
        exact_acc1=exact,
        rest_acc1=rest,
        seed=found.seed,
    )
    if out is not None:
        write(out, result, answered, found.class_names)
    return result
