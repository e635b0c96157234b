"""The linear probe of images with several labels: a logistic regression a class on features extracted once.

Lambda and s are those of the least binary cross-entropy on held-out training images, and the same for all
classes: most classes have too few images to choose by. Held-out mAP chose as well, and no better.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from catlipctl.labels.targets import How
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.transfer.features import ProbeSets
from catlipctl.transfer.initialise import TransferredHead, prior_rows
from catlipctl.transfer.labelled import ALL, TrainSize, folds, subset
from catlipctl.transfer.metrics import MultiLabelAnswers, Precisions
from catlipctl.transfer.probes.logistic import LogisticProblem
from catlipctl.transfer.probes.selection import FOLDS, Choice, Fold, Scores, on_held_out
from catlipctl.transfer.probes.solver import Fit, threads_for

PROTOCOL = "multi-label linear probe, fast: features once, logistic regressions, prior s W0"
Init = Literal["transfer", "random"]

PRIOR_SCALES = (1 / 4, 1 / 2, 1.0, 2.0)
"""s, besides 0. The pre-training head was learned by the same loss, so its own scale is among the best."""
FEWEST = 8
"""With fewer images that can be, nothing is held out, and these constants are taken:"""
FEW_WITHOUT_PRIOR = (1e-2, 0.0)
FEW_WITH_PRIOR = (1e-2, 1.0)


class MultiLabelScores(Precisions, Measurement):
    """How good the fitted classifier is on the test images, and how it was fitted.

    zero_shot_macro_map: of the mapped head with its own biases: no image of the data is used. None where no
    class has a mapped row. untrained_classes: that no training image has. prior: how the rows of the prior
    that was used were made; empty without one. converged: the last fit reached its minimum.
    """

    protocol: str = PROTOCOL
    init: Init
    train_size: str
    zero_shot_macro_map: float | None
    choice: Choice
    converged: bool
    train_images: int
    classes: int
    untrained_classes: int
    prior: dict[How, int]


def probe(
    sets: ProbeSets,
    head: TransferredHead | None,
    *,
    train_size: TrainSize = ALL,
    init: Init = "transfer",
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[Fit, MultiLabelScores]:
    """Fit and measure one classifier on extracted features, as `linear.probe` does for exclusive classes."""
    indices = subset(sets.train.labels, train_size, seed)
    values, labels = sets.train.values[indices], sets.train.labels[indices]
    prior = None if head is None else prior_rows(head)
    used = prior if init == "transfer" else None
    with threads_for(values):
        choice = choose(values, labels, used, seed=seed, progress=progress)
        fit = LogisticProblem(values, labels, used).fit(choice.strength, choice.prior_scale)
    if not fit.converged:
        progress.warn("the solver ended before its minimum: the fitted classifier is only near the best one")
    zero_shot = None
    if head is not None and prior is not None:
        zero_shot = answers(Fit(prior, head.bias.double()), sets).means()["macro_map"]
    return fit, MultiLabelScores(
        init=init,
        train_size=str(train_size),
        **answers(fit, sets).figures(seed, [label.name for label in sets.classes.labels]),
        zero_shot_macro_map=zero_shot,
        choice=choice,
        converged=fit.converged,
        train_images=len(labels),
        classes=len(sets.classes),
        untrained_classes=int((~labels.any(0)).sum()),
        prior={} if head is None or used is None else head.counts(),
        seed=seed,
    )


def answers(fit: Fit, sets: ProbeSets) -> MultiLabelAnswers:
    """What the fitted classifier says of the test images."""
    return MultiLabelAnswers(fit.logits(sets.test.values), sets.test.labels, sets.test_samples)


def choose(
    features: Tensor, targets: Tensor, prior: Tensor | None, *, seed: int = 0, progress: Progress = SILENT
) -> Choice:
    """Lambda and s for training features `[N, D]`, targets `[N, K]`, a prior `[K, D]`; s is 0 without one."""
    fold_of = folds(targets, FOLDS, seed)
    if int((fold_of >= 0).sum()) < FEWEST:
        strength, s = FEW_WITHOUT_PRIOR if prior is None else FEW_WITH_PRIOR
        how = f"constants: fewer than {FEWEST} images can be held out"
        return Choice(regularisation=strength, prior_scale=s, how=how, grid=[])

    def fold(out: Tensor) -> Fold:
        problem = LogisticProblem(features[~out], targets[~out], prior, dtype=torch.float32)
        return Fold(problem, int(out.sum()), partial(_scores, features[out], targets[out]))

    scales = (0.0,) if prior is None else (0.0, *PRIOR_SCALES)
    return on_held_out(fold_of, fold, scales, "binary cross-entropy", progress)


def _scores(features: Tensor, targets: Tensor, fit: Fit) -> Scores:
    logits = fit.logits(features)
    loss = functional.binary_cross_entropy_with_logits(logits, targets.double(), reduction="sum")
    return Scores(float(loss), None)
