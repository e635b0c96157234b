"""The attentive probe: `attention`'s classifier, trained on patch features that are extracted once.

The features are those of one view of each image, so AIM's augmentation is not done. AdamW, with a warm-up
and a cosine to zero. Each learning rate of `RATES` is tried on four fifths of the images; the one of the best
held-out cross-entropy trains the classifier on all of them.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional

from catlipctl import files
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.errors import DataError
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.training.world import World
from catlipctl.transfer.features import LabelledFeatures, ProbeSets
from catlipctl.transfer.labelled import TrainSize, held_out
from catlipctl.transfer.metrics import Answers, Interval
from catlipctl.transfer.probes.attention import AttentiveClassifier
from catlipctl.transfer.probes.frozen import Frozen, Probed, answers_of, frozen, write

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
FEW_RATE = 1e-3
FEWEST_A_CLASS = 4
"""With fewer images a class (on average) nothing is held out, and `FEW_RATE` is taken."""
EPOCHS = 30
BATCH = 256
FEWEST_STEPS = 10
"""Of an epoch: small sets have smaller batches."""
WARMUP = 0.1
"""Of all steps."""
WEIGHT_DECAY = 0.1
CLIP = 3.0
PROTOCOL = f"attentive probe: AIM's pooling on patch features of one view, {EPOCHS} epochs of AdamW"
GIB = 1 << 30
MOST_MEMORY = 4 * GIB
"""Of all patch features, unless another bound is given: 14,000 images of a ViT-B/16 at 224 px."""


class HeldOutRate(BaseModel):
    """Mean cross-entropy and accuracy on the held-out training images after training at one rate."""

    learning_rate: float
    cross_entropy: float
    acc1: float


class AttentiveResult(Probed, Measurement):
    """What the classifier is worth on the test images; all figures in 0..1, the intervals
    `metrics.interval`'s.

    feature_bytes: of the patch features in memory. patches: T, of an image.
    """

    protocol: str = PROTOCOL
    train_size: str
    learning_rate: float
    held_out: list[HeldOutRate]
    patches: int
    feature_bytes: int
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


def attentive_probe(
    checkpoint: Checkpoint,
    train: Source,
    test: Source | None,
    *,
    out: Path,
    target: LabelSet | None = None,
    train_size: str = "100%",
    random_backbone: bool = False,
    most_memory: int = MOST_MEMORY,
    seed: int = 0,
    multi_label: bool | None = None,
    label_base: int | None = None,
    cache: Path | None = None,
    cpu: bool = False,
    workers: int = 0,
    progress: Progress = SILENT,
) -> AttentiveResult:
    """Train a classifier on the patches of `train`, measure it on `test`.

    most_memory: bytes; where the patch features of all images take more, a UsageError says how much, before
    the work. The folder `out` gets `result.json`, `predictions.csv` and the classifier, `head.safetensors`.
    Arguments are those of `linear_probe`.
    """
    size = TrainSize.parse(train_size)
    files.refuse_taken(out)
    world = World(cpu=cpu)
    found = frozen(
        checkpoint,
        train,
        test,
        world=world,
        target=target,
        train_size=size,
        random_backbone=random_backbone,
        patches_within=most_memory,
        seed=seed,
        multi_label=multi_label,
        label_base=label_base,
        cache=cache,
        workers=workers,
        progress=progress,
    )
    result = world.on_main(lambda: _attentive_of(found, size, out, progress))
    world.close()
    return result


def _attentive_of(found: Frozen, size: TrainSize, out: Path, progress: Progress) -> AttentiveResult:
    started = time.monotonic()
    found.refuse_several_labels("attentive")
    sets = found.sets
    classifier, tried = attentive(sets, seed=found.seed, progress=progress)
    answered = answers(classifier, sets)
    result = AttentiveResult(
        **answered.figures(found.seed),
        **found.probed(time.monotonic() - started),
        confused=answered.confused(found.class_names),
        train_size=str(size),
        learning_rate=_best(tried),
        held_out=tried,
        patches=sets.train.values.shape[1],
        feature_bytes=sets.train.values.nbytes + sets.test.values.nbytes,
        train_images=len(sets.train.labels),
        classes=len(sets.classes),
        seed=found.seed,
    )
    write(out, result, answered, found.class_names, classifier.state_dict())
    return result


def attentive(
    sets: ProbeSets, *, seed: int = 0, progress: Progress = SILENT
) -> tuple[AttentiveClassifier, list[HeldOutRate]]:
    """The classifier, on the CPU and in eval mode, for patch features `[N, T, D]`; and the rates tried."""
    classes = len(sets.classes)
    if missing := classes - len(sets.train.labels.unique()):
        raise DataError(
            f"{missing:,} classes have no training image that could be read",
            "give such classes readable images",
        )
    tried: list[HeldOutRate] = []
    if len(sets.train.labels) >= FEWEST_A_CLASS * classes:
        out = held_out(sets.train.labels, 0.2, seed)
        inside, outside = (
            LabelledFeatures(sets.train.values[part], sets.train.labels[part]) for part in (~out, out)
        )
        for rate, made in zip(RATES, _trained(inside, classes, RATES, seed, progress), strict=True):
            logits = logits_of(made, outside.values)
            tried.append(
                HeldOutRate(
                    learning_rate=rate,
                    cross_entropy=float(functional.cross_entropy(logits, outside.labels)),
                    acc1=float((logits.argmax(1) == outside.labels).double().mean()),
                )
            )
    return _trained(sets.train, classes, [_best(tried)], seed, progress)[0], tried


def answers(classifier: AttentiveClassifier, sets: ProbeSets) -> Answers:
    """What a classifier says of the test images, among the classes that are scored."""
    return answers_of(logits_of(classifier, sets.test.values), sets)


@torch.no_grad()
def logits_of(classifier: AttentiveClassifier, values: Tensor) -> Tensor:
    """`[N, K]`, float32, for patch features `[N, T, D]`, a batch at a time on the classifier's device."""
    device = classifier.query.device
    return torch.cat([classifier.eval()(part.to(device)).cpu() for part in values.split(BATCH)])


def _best(tried: list[HeldOutRate]) -> float:
    return min(tried, key=lambda rate: rate.cross_entropy).learning_rate if tried else FEW_RATE


def _trained(
    train: LabelledFeatures, classes: int, rates: Sequence[float], seed: int, progress: Progress
) -> list[AttentiveClassifier]:
    """One classifier for each rate, on the CPU; all start alike and see the same batches."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in rates:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made.append(AttentiveClassifier(train.values.shape[2], classes).to(device).train())
    optimisers = [
        torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
        for head, rate in zip(made, rates, strict=True)
    ]
    batch = max(2, min(BATCH, math.ceil(len(train.labels) / FEWEST_STEPS)))
    total, step = EPOCHS * max(1, len(train.labels) // batch), 0
    with progress.task(f"training at {len(rates)} learning rates", total, "steps") as task:
        for _ in range(EPOCHS):
            order = torch.randperm(len(train.labels), generator=generator)
            for rows in order[: total // EPOCHS * batch].split(batch):
                patches, labels = train.values[rows].to(device), train.labels[rows].to(device)
                for head, optimiser, rate in zip(made, optimisers, rates, strict=True):
                    optimiser.param_groups[0]["lr"] = rate * _share(step, total)
                    optimiser.zero_grad()
                    functional.cross_entropy(head(patches), labels).backward()  # type: ignore[no-untyped-call]
                    torch.nn.utils.clip_grad_norm_(head.parameters(), CLIP)
                    optimiser.step()
                step += 1
                task.advance()
    return [head.cpu().eval() for head in made]


def _share(step: int, total: int) -> float:
    """Of the peak learning rate: a linear warm-up, then half a cosine to zero."""
    warmup = max(1, round(WARMUP * total))
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
