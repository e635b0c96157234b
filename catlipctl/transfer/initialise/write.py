"""Transfer Init as a checkpoint: the tower, its new classifier, and the account."""

from pathlib import Path

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.errors import DataError
from catlipctl.files import refuse_taken
from catlipctl.labels.targets import How, LabelSet, Mapping
from catlipctl.results import Result
from catlipctl.transfer.classifier import save_head, with_head
from catlipctl.transfer.initialise.account import ACCOUNT, AccountRow, account_csv
from catlipctl.transfer.initialise.calibration import Rows
from catlipctl.transfer.initialise.matching import MIN_SIMILARITY
from catlipctl.transfer.initialise.neighbours import Neighbours, neighbours
from catlipctl.transfer.initialise.rows import transfer_init


class TransferInit(Result):
    """What `transfer-init` reports: where the checkpoint is, how many labels were met how, and each row.

    distinct_rows: different rows that are not random. shared: labels whose row another label has too.
    guessed: labels whose senses are a guess. neighbours: of each label, where they were asked for.
    """

    checkpoint: str
    head: str | None
    target: str
    multi_label: bool
    labels: int
    counts: dict[How, int]
    distinct_rows: int
    shared: int
    guessed: int
    mapping: Mapping
    min_similarity: float
    rows: Rows
    seed: int
    account: list[AccountRow]
    neighbours: list[Neighbours]


def write_transfer_init(
    checkpoint: Checkpoint,
    labelset: LabelSet,
    out: Path,
    *,
    min_similarity: float = MIN_SIMILARITY,
    mapping: Mapping = "heads",
    rows: Rows = "plain",
    seed: int = 0,
    head_only: Path | None = None,
    with_neighbours: bool = False,
) -> TransferInit:
    """Do Transfer Init and write the tower with its new head as the checkpoint `out`, with `account.csv`.

    `head_only`: a safetensors file to write `weight [K, D]` and `bias [K]` to as well. Neither may exist.
    Raises DataError where no label is met: all rows would be random; and for one label that would exclude all
    others: its probability is 1 whatever is seen.
    """
    if len(labelset) == 1 and not labelset.multi_label:
        raise DataError(
            f"{labelset.name} has one label, {labelset.labels[0].name}: to choose between one says nothing",
            "give it a second label, or --multi-label: then it is a yes or a no",
        )
    if head_only is not None:
        refuse_taken(head_only)
    head = transfer_init(
        checkpoint, labelset, min_similarity=min_similarity, mapping=mapping, rows=rows, seed=seed
    )
    if not head.mapped.any():
        raise DataError(
            f"no class of the checkpoint's head is like any of the {len(labelset):,} labels of "
            f"{labelset.name}: all rows would be random",
            "Transfer Init needs a vocabulary of synsets (extractor corenet or nouns) near the target's",
        )
    section = {
        "kind": "transfer-init",
        "target": labelset.name,
        "mapping": mapping,
        "min_similarity": min_similarity,
        "rows": head.rows,
        "seed": seed,
    }
    written = checkpoints.write(
        out,
        tower=with_head(checkpoint.tower, head.weight, head.bias),
        config={**section, "from": checkpoint.name},
        problem_type=checkpoints.MULTI_LABEL if labelset.multi_label else checkpoints.SINGLE_LABEL,
        label_names=[label.name for label in labelset.labels],
        files={ACCOUNT: account_csv(head.account, multi_label=labelset.multi_label)},
    )
    if head_only is not None:
        save_head(head_only, head.weight, head.bias)
    return TransferInit(
        checkpoint=str(written),
        head=None if head_only is None else str(head_only),
        target=labelset.name,
        multi_label=labelset.multi_label,
        labels=len(labelset),
        counts=head.counts(),
        distinct_rows=head.distinct_rows,
        shared=sum(row.shared > 0 for row in head.account),
        guessed=sum(row.senses == "guessed" for row in head.account),
        mapping=mapping,
        min_similarity=min_similarity,
        rows=head.rows,
        seed=seed,
        account=head.account,
        neighbours=neighbours(head, checkpoint.synsets or ()) if with_neighbours else [],
    )
