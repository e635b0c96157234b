"""A pre-training checkpoint with tags for its classes: their rows, and thresholds, by Transfer Init."""

from dataclasses import replace

import torch
from torch import Tensor

from catlipctl.checkpoints import MULTI_LABEL, Checkpoint
from catlipctl.errors import DataError
from catlipctl.labels.targets import LabelSet
from catlipctl.progress import SILENT, Progress
from catlipctl.transfer.classifier import with_head
from catlipctl.transfer.initialise import TransferredHead, transfer_init


def tagger_of(checkpoint: Checkpoint, tags: LabelSet, *, progress: Progress = SILENT) -> Checkpoint:
    """The checkpoint with a row for each tag that its head has one for; the others are named and left out.

    A threshold is the mean of those of the classes that a row is made of, as log-odds. Raises DataError where
    no tag has a row, and what `transfer_init` raises.
    """
    head = transfer_init(checkpoint, replace(tags, multi_label=True))
    known = torch.where(head.mapped)[0]
    missed = [row.label for row in head.account if row.how == "random"]
    if missed:
        progress.warn(f"tags that nothing in the head is like are left out: {', '.join(missed)}")
    if not len(known):
        raise DataError(
            f"no class of {checkpoint.name} is like any of the tags", "name tags near what its captions name"
        )
    names = [tags.labels[i].name for i in known.tolist()]
    return replace(
        checkpoint,
        tower=with_head(checkpoint.tower, head.weight[known], head.bias[known]),
        vocabulary=None,
        config={**checkpoint.config, "kind": "transfer-init"},
        label_names=names,
        label_descriptions={},
        problem_type=MULTI_LABEL,
        thresholds=_thresholds(checkpoint, head, known),
    )


def _thresholds(checkpoint: Checkpoint, head: TransferredHead, known: Tensor) -> list[float] | None:
    if checkpoint.thresholds is None:
        return None
    odds = torch.tensor(checkpoint.thresholds, dtype=torch.float64).logit()
    place = {key: row for row, key in enumerate(checkpoint.synsets or ())}
    means = [odds[[place[key] for key in head.account[i].sources]].mean() for i in known.tolist()]
    return torch.stack(means).sigmoid().tolist()
