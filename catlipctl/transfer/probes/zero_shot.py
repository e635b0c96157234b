"""A classifier that needs no label: the rows that Transfer Init made, centred on unlabelled images."""

from torch import Tensor

from catlipctl.transfer.probes.samples import mean
from catlipctl.transfer.probes.solver import Fit


def zero_shot(training: Tensor, prior: Tensor) -> Fit:
    """The classifier W0 with each class's mean logit over the training images `[N, D]` at 0.

    No label is used, but the training images are. A pre-training head's own bias, which needs no image,
    is the log-odds of rare binary classes: with it zero-shot is worse.
    """
    return Fit(prior, -prior @ mean(training))
