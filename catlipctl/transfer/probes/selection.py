"""How strong the penalty is and how far the prior is trusted: lambda and s, chosen on held-out images.

By held-out cross-entropy, summed over four stratified folds of the training images. Held-out accuracy chose
worse, and ten folds or three repeats no better.
"""

import math
from typing import Literal

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional

from catlipctl.progress import SILENT, Progress
from catlipctl.transfer.labelled import folds
from catlipctl.transfer.probes.samples import chunks
from catlipctl.transfer.probes.solver import Fit, Problem

STRENGTHS = [math.inf, *(10 ** (1 - i / 2) for i in range(17))]
"""Lambda, descending: infinite, then 10 to 1e-7 in half decades."""
PRIOR_SCALES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
"""s, besides 0. A pre-training head has the scale of rare binary classes, too sharp for few classes: s = 4
never won.
"""
FOLDS = 4
ONE_FOLD_FROM = 2000
"""With so many training images one fold of them decides: 500 held-out images are enough, in a quarter of the
time.
"""
FEWEST_A_CLASS = 4
"""With fewer images a class (on average) nothing is held out, and these constants are taken:"""
FEW_STRENGTH = 0.2
"""Lambda times the number of images, so that the weights are drawn from a normal distribution of one width
whatever the number: the loss is a mean over images. A lambda of its own, whatever the number, fails one image
of each of 200 classes. FEW_PRIOR_SCALE: s. Both were chosen on training images of CIFAR-10 and tiny-imagenet
that were not trained on, at 1, 2 and 3 images a class.
"""
FEW_PRIOR_SCALE = 1 / 4
TOLERANCE = 1e-3
"""Of the gradient: held-out losses are then right to 4e-4, in half the time of 1e-4."""
PATIENCE = 3
"""A path towards smaller lambda ends when the held-out loss has not fallen for so many steps."""


class HeldOut(BaseModel):
    """One point of the grid: mean cross-entropy and accuracy on held-out training images."""

    prior_scale: float
    regularisation: float | Literal["infinite"]
    cross_entropy: float
    acc1: float


class Choice(BaseModel):
    """The chosen lambda (`regularisation`) and s (`prior_scale`), how they were chosen, and the grid."""

    regularisation: float | Literal["infinite"]
    prior_scale: float
    how: str
    grid: list[HeldOut]

    @property
    def strength(self) -> float:
        """Lambda as a number."""
        return math.inf if self.regularisation == "infinite" else self.regularisation


def choose(
    features: Tensor,
    labels: Tensor,
    classes: int,
    prior: Tensor | None,
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Choice:
    """Lambda and s for training features `[N, D]`, labels `[N]` and a prior `[K, D]`; s is 0 without one.

    No copy of the features is made. The work is done on their device.
    """
    if len(labels) < FEWEST_A_CLASS * classes:
        strength, s = FEW_STRENGTH / len(labels), 0.0 if prior is None else FEW_PRIOR_SCALE
        how = f"constants: fewer than {FEWEST_A_CLASS} images a class, so none can be held out"
        return Choice(regularisation=strength, prior_scale=s, how=how, grid=[])
    used = 1 if len(labels) >= ONE_FOLD_FROM else FOLDS
    fold_of = folds(labels, FOLDS, seed)
    parts = []
    for fold in range(used):
        rows, out = torch.where(fold_of != fold)[0], torch.where(fold_of == fold)[0]
        problem = Problem(features, labels, classes, prior, rows=rows, dtype=torch.float32)
        parts.append((problem, _HeldOutPart(features, labels, out)))
    grid: list[HeldOut] = []
    scales = (0.0,) if prior is None else (0.0, *PRIOR_SCALES)
    with progress.task("choosing lambda and s", len(scales), "paths") as task:
        for s in scales:
            grid += _path(parts, s)
            task.advance()
    best = min(grid, key=lambda point: point.cross_entropy)
    return Choice(
        regularisation=best.regularisation,
        prior_scale=best.prior_scale,
        how=f"held-out cross-entropy, {used} of {FOLDS} folds",
        grid=grid,
    )


class _HeldOutPart:
    """The held-out samples of one fold."""

    def __init__(self, features: Tensor, labels: Tensor, rows: Tensor) -> None:
        self._features = features
        self._rows, self._labels = rows.to(features.device), labels[rows].to(features.device)

    def __len__(self) -> int:
        return len(self._labels)

    def scores(self, fit: Fit) -> tuple[float, float]:
        """The sum of the cross-entropies, and how many are classified rightly; in chunks."""
        loss = hits = 0.0
        for part in chunks(len(self), max(fit.weight.shape)):
            labels = self._labels[part]
            logits = fit.logits(self._features[self._rows[part]])
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            hits += float((logits.argmax(1) == labels).sum())
        return loss, hits


def _path(parts: list[tuple[Problem, _HeldOutPart]], s: float) -> list[HeldOut]:
    """The held-out scores along descending lambda, over all folds at once."""
    points: list[HeldOut] = []
    images = sum(len(out) for _, out in parts)
    paths = [problem.path(STRENGTHS, s, TOLERANCE) for problem, _ in parts]
    for strength, fits in zip(STRENGTHS, zip(*paths, strict=True), strict=True):
        scores = [out.scores(fit) for fit, (_, out) in zip(fits, parts, strict=True)]
        points.append(
            HeldOut(
                prior_scale=s,
                regularisation="infinite" if math.isinf(strength) else strength,
                cross_entropy=sum(loss for loss, _ in scores) / images,
                acc1=sum(hits for _, hits in scores) / images,
            )
        )
        losses = [point.cross_entropy for point in points]
        if len(losses) > PATIENCE and min(losses[-PATIENCE:]) > min(losses):
            break
    return points
