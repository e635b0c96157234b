"""k nearest neighbours: a probe without training, by the weighted protocol of DINO (arXiv 2104.14294).

The k training images most similar to a test image by the cosine of their features each vote for their class,
with weight exp(similarity / temperature). There is nothing to fit, and k and the temperature are constants.
"""

import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.transfer.features import ProbeSets
from catlipctl.transfer.labelled import ALL, TrainSize, subset
from catlipctl.transfer.metrics import Answers, Interval
from catlipctl.transfer.probes.frozen import Frozen, Probed, answers_of, write
from catlipctl.transfer.probes.samples import placed

K = 20
TEMPERATURE = 0.07
TESTED_AT_ONCE = 1024
COMPARED_AT_ONCE = 4096


class KnnResult(Probed, Measurement):
    """What the votes of the nearest training images are worth; all figures in 0..1, the intervals
    `metrics.interval`'s.

    k: neighbours that vote; fewer than were asked for where there are fewer training images.
    """

    protocol: str
    k: int
    temperature: float
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


def knn(
    sets: ProbeSets,
    *,
    k: int = K,
    temperature: float = TEMPERATURE,
    train_size: TrainSize = ALL,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Answers:
    """The logarithms of each class's share of the votes, as logits: their softmax is the share itself.

    A class that no neighbour has is at minus infinity, and only images of classes that are scored vote. The
    subset of `train_size` is decided by `seed`. A block of test images is compared with a block of training
    images at a time, on a GPU that has room.
    """
    values, labels = sets.train.values, sets.train.labels
    indices = subset(labels, train_size, seed)
    if sets.scored is not None:
        indices = indices[torch.isin(labels[indices], sets.scored)]
    if len(indices) < len(labels):
        values, labels = values[indices], labels[indices]
    values = placed(values)
    labels = labels.to(values.device)
    found = []
    with progress.task("comparing with training images", len(sets.test.values), "images") as task:
        for tested in sets.test.values.split(TESTED_AT_ONCE):
            similarity, neighbours = _nearest(tested.to(values.device), values, min(k, len(values)))
            weights = torch.softmax(similarity / temperature, 1)
            votes = weights.new_zeros(len(tested), len(sets.classes))
            found.append(votes.scatter_add_(1, labels[neighbours], weights).log().cpu())
            task.advance(len(tested))
    return answers_of(torch.cat(found), sets)


def _nearest(tested: Tensor, values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest cosines of each of `tested [n, D]` with `values [N, D]`, and whose they are: `[n, k]`."""
    tested = functional.normalize(tested.float(), dim=1)
    similarity, neighbours = tested.new_empty(len(tested), 0), torch.empty(len(tested), 0, dtype=torch.int64)
    neighbours = neighbours.to(tested.device)
    for number, block in enumerate(values.split(COMPARED_AT_ONCE)):
        cosines = tested @ functional.normalize(block.float(), dim=1).T
        places = torch.arange(len(block), device=block.device) + number * COMPARED_AT_ONCE
        candidates = torch.cat([similarity, cosines], 1)
        of = torch.cat([neighbours, places.expand(len(tested), -1)], 1)
        similarity, chosen = candidates.topk(min(k, candidates.shape[1]), 1)
        neighbours = of.gather(1, chosen)
    return similarity, neighbours


def knn_of(
    found: Frozen,
    *,
    k: int = K,
    temperature: float = TEMPERATURE,
    out: Path | None = None,
    progress: Progress = SILENT,
) -> KnnResult:
    """`knn` on extracted features; written to the folder `out`, as `write` does."""
    started = time.monotonic()
    sets = found.sets
    answered = knn(sets, k=k, temperature=temperature, seed=found.seed, progress=progress)
    result = KnnResult(
        **answered.figures(found.seed),
        **found.probed(time.monotonic() - started),
        protocol=f"{k} nearest neighbours by cosine, DINO's vote, temperature {temperature:g}",
        k=min(k, len(sets.train.labels)),
        temperature=temperature,
        train_images=len(sets.train.labels),
        confused=answered.confused(found.class_names),
        classes=len(sets.classes),
        seed=found.seed,
    )
    if out is not None:
        write(out, result, answered, found.class_names)
    return result
