"""Transfer Init as what is known of a classifier before any label is seen: W0."""

import torch
from torch import Tensor, nn

from catlipctl.checkpoints import Checkpoint
from catlipctl.checkpoints.directory import check
from catlipctl.errors import CheckpointError
from catlipctl.labels.targets import Label, LabelSet, Mapping
from catlipctl.progress import SILENT, Progress
from catlipctl.transfer.initialise.account import ACCOUNT, read_account
from catlipctl.transfer.initialise.calibration import Rows
from catlipctl.transfer.initialise.rows import TransferredHead, transfer_init

SHOWN = 20
"""Classes whose synsets are noted."""


def prior_head(
    checkpoint: Checkpoint,
    present: LabelSet,
    seed: int = 0,
    *,
    mapping: Mapping = "heads",
    rows: Rows = "plain",
    progress: Progress = SILENT,
) -> TransferredHead | None:
    """Transfer Init for these classes, or the rows that `transfer-init` made for them already, as they are.

    What each class is taken to mean is noted. None, and a warning that says why, where there are no such rows
    or none that fits.
    """
    if not isinstance(checkpoint.tower.head, nn.Linear):
        head, why = None, f"the head of {checkpoint.tower.name} is not one linear layer, so it has no rows"
    elif checkpoint.config.get("kind") == "transfer-init":
        head = _made_before(checkpoint, present)
        why = f"its labels, those of {checkpoint.config.get('target')}, lack some of the classes"
    elif checkpoint.synsets is not None:
        head = transfer_init(checkpoint, present, mapping=mapping, rows=rows, seed=seed)
        why = ""
    else:
        head, why = None, "the checkpoint has no vocabulary: nothing says what its classifier's rows mean"
    if head is not None and head.mapped.any():
        meant = [f"{row.label} = {' + '.join(row.synsets) or 'no synset'}" for row in head.account]
        more = f" and {len(meant) - SHOWN} more" if len(meant) > SHOWN else ""
        progress.note(f"classes as synsets: {', '.join(meant[:SHOWN])}{more}")
        return head
    why = why or "its head has nothing like these classes"
    progress.warn(f"no prior from Transfer Init: {why}; so Random Init only")
    return None


def _made_before(checkpoint: Checkpoint, present: LabelSet) -> TransferredHead | None:
    """The rows of the classes, by name, in a head that `transfer-init` wrote; None where it lacks one."""
    labels = LabelSet("", tuple(Label(name, ()) for name in checkpoint.label_names or ()))
    found = [labels.find(label.name) for label in present.labels]
    rows = [row for row in found if row is not None]
    if checkpoint.path is None or len(rows) < len(found):
        return None
    check(checkpoint.path, (ACCOUNT,))
    account = read_account(checkpoint.path / ACCOUNT)
    if len(account) != checkpoint.tower.num_classes:
        raise CheckpointError(
            f"{checkpoint.path / ACCOUNT} has {len(account):,} rows, and the classifier "
            f"{checkpoint.tower.num_classes:,}",
            "make the classifier again: catlipctl transfer-init",
        )
    head = checkpoint.tower.linear_head()
    return TransferredHead(
        present.name,
        head.weight.detach().float().cpu()[rows],
        head.bias.detach().float().cpu()[rows],
        [account[row] for row in rows],
        checkpoint.config.get("rows", "plain"),
    )


def prior_rows(head: TransferredHead) -> Tensor:
    """W0 `[K, D]`, float64: the mapped rows, and their mean where a label has none, which prefers no class.

    A random row would be a prior that means nothing.
    """
    rows = head.weight.double()
    return torch.where(head.mapped[:, None], rows, rows[head.mapped].mean(0))
