"""The linear probe, fast protocol: features extracted once, then a convex fit around Transfer Init.

`frozen` does the costly part; `probe` may then be called many times on its sets, for other train sizes, inits
and seeds. `linear_probe` is the whole of it for one.
"""

import json
import time
from pathlib import Path
from typing import Literal

from torch import nn

from catlipctl import checkpoints, files
from catlipctl.checkpoints import Checkpoint
from catlipctl.checkpoints.writing import save_tensors
from catlipctl.data import Source
from catlipctl.errors import DataError
from catlipctl.labels.targets import How, LabelSet, Mapping
from catlipctl.models import Tower
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.training.world import World
from catlipctl.transfer.classifier import save_head, with_head
from catlipctl.transfer.features import ProbeSets
from catlipctl.transfer.initialise import Rows, TransferredHead, prior_rows
from catlipctl.transfer.labelled import ALL, TrainSize, subset
from catlipctl.transfer.metrics import ConfusedPair, Interval, interval, share, top_k_hits
from catlipctl.transfer.metrics.answers import RESULT
from catlipctl.transfer.probes import multi_label as several
from catlipctl.transfer.probes import selection
from catlipctl.transfer.probes.frozen import HEAD, Frozen, Probed, answers, frozen
from catlipctl.transfer.probes.multi_label import MultiLabelScores
from catlipctl.transfer.probes.samples import placed
from catlipctl.transfer.probes.selection import Choice
from catlipctl.transfer.probes.solver import Fit, Problem, threads_for
from catlipctl.transfer.probes.zero_shot import by_exactness, zero_shot

PROTOCOL = "linear probe, fast: features once, L-BFGS, prior s W0"
Init = Literal["transfer", "random"]


class ProbeScores(Measurement):
    """How good the fitted classifier is on the test images, all figures in 0..1, and how it was fitted.

    The intervals are `metrics.interval`'s.
    zero_shot_acc1: of the mapped head, no label used, its logits centred on the unlabelled training images
    (see `zero_shot`). None where no class has a mapped row. zero_shot_exact_acc1, zero_shot_rest_acc1: the
    same over the test images of the classes that are in the vocabulary, and over the others'; exact_classes:
    how many the former are. images_per_class: mean number of training images.
    majority_share: the largest class's share of the test images. prior: how the rows of the prior that was
    used were made; empty without one. rows: those of the mapped head, plain or calibrated; None without one.
    converged: the last fit reached its minimum.
    """

    protocol: str = PROTOCOL
    init: Init
    train_size: str
    acc1: float
    acc1_interval: Interval
    acc5: float
    acc5_interval: Interval
    mean_per_class_recall: float
    mean_per_class_recall_interval: Interval
    zero_shot_acc1: float | None
    zero_shot_acc1_interval: Interval | None
    zero_shot_exact_acc1: float | None = None
    zero_shot_rest_acc1: float | None = None
    exact_classes: int = 0
    choice: Choice
    converged: bool
    train_images: int
    test_images: int
    classes: int
    images_per_class: float
    majority_share: float
    prior: dict[How, int]
    rows: Rows | None = None


class Classified(Probed):
    """A probe with the checkpoint of the fitted classifier.

    checkpoint: None where none was written, as for a tower whose own head is not one linear layer.
    """

    checkpoint: str | None


class ProbeResult(Classified, ProbeScores):
    """A linear probe of one tower on one data set, whose classes exclude each other."""


class MultiLabelProbeResult(Classified, MultiLabelScores):
    """A linear probe of one tower on one data set, of which an image may have several classes."""


def linear_probe(
    checkpoint: Checkpoint,
    train: Source,
    test: Source | None,
    *,
    target: LabelSet | None = None,
    train_size: str = "100%",
    init: Init = "transfer",
    mapping: Mapping = "heads",
    rows: Rows = "calibrated",
    random_backbone: bool = False,
    seed: int = 0,
    multi_label: bool | None = None,
    label_base: int | None = None,
    out: Path | None = None,
    classifier: bool = True,
    cache: Path | None = None,
    cpu: bool = False,
    workers: int = 0,
    progress: Progress = SILENT,
) -> ProbeResult | MultiLabelProbeResult:
    """Fit a linear classifier to the frozen tower's features of `train`, measure it on `test`.

    test: None holds 20 % of `train` out, stratified by `seed`. target: the label set whose labels the data's
    class names are; None takes the names themselves. mapping: how names meet the vocabulary. rows: how
    Transfer Init makes them (`initialise.calibration`). random_backbone:
    the control, the same tower untrained, with BatchNorm statistics of all training images and no prior.
    init="transfer" without rows that fit warns, and goes on without a prior. multi_label: whether an image
    may have several classes; None: as the label set or the images say. label_base: numbers in the data are
    rows of the target, of which this is the first. out: a checkpoint to write, tower and fitted classifier,
    with `result.json` and `predictions.csv` in it. A tower whose head is not one linear layer cannot hold the
    classifier: there, and without `classifier`, `out` gets the two files, and the classifier alone as
    `head.safetensors`. cache: where
    features are kept and found. Started by a launcher, the processes share the images; the first fits and
    writes, and all return its result. Raises DataError for classes that don't fit, UsageError where `out`
    exists.
    """
    size = TrainSize.parse(train_size)
    if out is not None:  # said before the work, not after it
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
        seed=seed,
        multi_label=multi_label,
        label_base=label_base,
        mapping=mapping,
        rows=rows,
        cache=cache,
        workers=workers,
        progress=progress,
    )
    result = world.on_main(
        lambda: linear_probe_of(
            found, train_size=size, init=init, out=out, classifier=classifier, progress=progress
        )
    )
    world.close()
    return result


def linear_probe_of(
    found: Frozen,
    *,
    train_size: TrainSize = ALL,
    init: Init = "transfer",
    out: Path | None = None,
    classifier: bool = True,
    progress: Progress = SILENT,
) -> ProbeResult | MultiLabelProbeResult:
    """`linear_probe` on features that are extracted; train_size: that of their training images."""
    started = time.monotonic()
    if found.random_backbone:
        init = "random"
    # Also with init="random", for the zero-shot figure; nobody then waits for a prior.
    sets, seed = found.sets, found.seed
    head = found.head(progress if init == "transfer" else SILENT)
    scores: ProbeScores | MultiLabelScores
    kind: type[ProbeResult] | type[MultiLabelProbeResult] = ProbeResult
    confused: list[ConfusedPair] = []
    if sets.classes.multi_label:
        progress.note("an image may have several labels: a logistic regression for each class, and mAP")
        fit, scores = several.probe(sets, head, init=init, seed=seed, progress=progress)
        kind = MultiLabelProbeResult
    else:
        fit, scores = probe(sets, head, init=init, seed=seed, progress=progress)
        confused = answers(fit, sets).confused(found.class_names)
    takes_classifier = isinstance(found.tower.head, nn.Linear)
    written = out is not None and takes_classifier and classifier
    about = {
        **dict(scores),
        "protocol": found.fitted_by(scores.protocol),
        "train_size": str(train_size),
        **found.probed(time.monotonic() - started),
    }
    result = kind(**about, confused=confused, checkpoint=str(out) if written else None)
    if out is not None:
        _write(result, out, found.tower, fit, found.sets, found.checkpoint.name)
        if not takes_classifier:
            why = f"the head of {found.tower.name} is not one linear layer"
            progress.warn(f"{why}: the classifier is written alone")
    return result


def probe(
    sets: ProbeSets,
    head: TransferredHead | None,
    *,
    train_size: TrainSize = ALL,
    init: Init = "transfer",
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[Fit, ProbeScores]:
    """Fit and measure one classifier on extracted features.

    The subset of `train_size` is decided by `seed` alone, the same for every init; `init="random"` has s = 0.
    """
    count = len(sets.classes)
    indices = subset(sets.train.labels, train_size, seed)
    values, labels = sets.train.values, sets.train.labels
    if len(indices) < len(labels):
        values, labels = values[indices], labels[indices]
    if len(labels.unique()) < count:
        missing = sorted(set(range(count)) - set(labels.tolist()))
        names = ", ".join(sets.classes.labels[i].name for i in missing[:5])
        raise DataError(f"no training image of {names} could be read", "give such classes readable images")
    prior = None if head is None else prior_rows(head)
    used = prior if init == "transfer" else None
    with threads_for(values):
        values = placed(values)
        choice = selection.choose(values, labels, count, used, seed=seed, progress=progress)
        fit = Problem(values, labels, count, used).fit(choice.strength, choice.prior_scale)
    if not fit.converged:
        progress.warn("the solver ended before its minimum: the fitted classifier is only near the best one")
    hits, exact, rest = None, None, None
    if head is not None and prior is not None:
        answered = answers(zero_shot(sets.train.values, prior), sets)
        hits = top_k_hits(answered.logits, answered.labels, 1)
        exact, rest = by_exactness(answered, head)
    return fit, ProbeScores(
        init=init,
        train_size=str(train_size),
        **answers(fit, sets).figures(seed),
        zero_shot_acc1=None if hits is None else share(hits),
        zero_shot_acc1_interval=None if hits is None else interval(hits, seed),
        zero_shot_exact_acc1=exact,
        zero_shot_rest_acc1=rest,
        exact_classes=0 if head is None else head.counts()["exact"],
        choice=choice,
        converged=fit.converged,
        train_images=len(labels),
        classes=count,
        images_per_class=len(labels) / count,
        prior={} if head is None or used is None else head.counts(),
        rows=None if head is None else head.rows,
        seed=seed,
    )


def _write(
    result: ProbeResult | MultiLabelProbeResult,
    out: Path,
    tower: Tower,
    fit: Fit,
    sets: ProbeSets,
    origin: str,
) -> None:
    """Write the result and the answers, with a checkpoint where the tower's head can be the classifier."""
    names = [label.name for label in sets.classes.labels]
    answered = several.answers(fit, sets) if sets.classes.multi_label else answers(fit, sets)
    written = {
        RESULT: json.dumps(result.document(), indent=2, ensure_ascii=False) + "\n",
        **answered.files(names),
    }
    weight, bias = fit.weight.float(), fit.bias.float()
    if result.checkpoint is not None:
        about = {"kind": "linear probe", "from": origin, "protocol": result.protocol}
        checkpoints.write(
            out,
            tower=with_head(tower, weight, bias),
            config={**about, "random_backbone": result.random_backbone},
            label_names=names,
            problem_type=checkpoints.MULTI_LABEL if sets.classes.multi_label else checkpoints.SINGLE_LABEL,
            files=written,
            tensors=answered.tensors(),
        )
        return
    with files.replacing(out) as temporary:
        temporary.mkdir()
        save_head(temporary / HEAD, weight, bias)
        for name, text in written.items():
            files.write_text(temporary / name, text)
        for name, tensors in answered.tensors().items():
            save_tensors(tensors, temporary / name)
