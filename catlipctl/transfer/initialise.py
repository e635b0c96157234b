"""Transfer Init (CatLIP, 4.2): a target's classifier made from the rows of the pre-training classifier.

A pre-training head gives a sigmoid a class, but the classes of most targets exclude each other. If exactly
one of several independent labels is present, it is label k with the probability exp(z_k) / sum_j exp(z_j).
The z are the log-odds that the sigmoids give, so a softmax of the same logits is right. They also hold how
often captions name each class, which says nothing of the target. This is taken out of the biases (logit
adjustment, Menon et al. 2021): all classes are equally frequent at first. Without any training, the demo's 12
emoji classes are then told apart with 44.5 % top-1 accuracy, and with 37.9 % by the biases as they are. For
CIFAR-10, from another run, it is 21.3 % and 20.6 %.

How each row was made stands in an account. Written as `account.csv` it is a label set too: its column
`synsets` says what a label means, and edited by hand it decides so in the next call.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.errors import CheckpointError, DataError
from catlipctl.files import FileKind, refuse_taken
from catlipctl.labels import wordnet
from catlipctl.labels.targets import HOWS, How, LabelSet
from catlipctl.results import Result
from catlipctl.transfer.classifier import save_head, with_head
from catlipctl.transfer.matching import MIN_SIMILARITY, LabelMatch, match_labels

ACCOUNT = "account.csv"
COLUMNS = ("label", "synsets", "how", "similarity", "sources", "source_names", "missed")
_AGAIN = "make the classifier again: catlipctl transfer-init"
_KIND = FileKind("an account of Transfer Init", 2**28, CheckpointError, _AGAIN)


class AccountRow(BaseModel):
    """How one row of the classifier was made.

    synsets: what the label means, as WordNet names; missed: those of them that nothing fits. sources: keys of
    the vocabulary's classes whose rows were taken, source_names: their WordNet names. similarity: see
    `LabelMatch.similarity`.
    """

    label: str
    synsets: list[str]
    how: How
    similarity: float
    sources: list[str]
    source_names: list[str]
    missed: list[str] = []

    @classmethod
    def from_csv(cls, row: dict[str, str]) -> "AccountRow":
        """A row of the file that `account_csv` wrote."""
        lists = {name: row[name].split() for name in ("synsets", "sources", "source_names", "missed")}
        return cls.model_validate({**row, **lists, "similarity": row["similarity"] or 0})


@dataclass(frozen=True)
class TransferredHead:
    """A classifier for a target: weight `[K, D]`, bias `[K]` (float32), and how each row was made."""

    target: str
    weight: Tensor
    bias: Tensor
    account: list[AccountRow]

    @property
    def mapped(self) -> Tensor:
        """`[K]`, bool: the rows that are not random."""
        return torch.tensor([row.how != "random" for row in self.account])

    @property
    def distinct_rows(self) -> int:
        """How many different rows there are: labels met by the same classes share one."""
        return len(torch.unique(self.weight, dim=0))

    def counts(self) -> dict[How, int]:
        """How many labels were met in each way."""
        found = Counter(row.how for row in self.account)
        return {how: found[how] for how in HOWS}


class TransferInit(Result):
    """What `transfer-init` reports: where the checkpoint is, how many labels were met how, and each row."""

    checkpoint: str
    head: str | None
    target: str
    multi_label: bool
    labels: int
    counts: dict[How, int]
    distinct_rows: int
    min_similarity: float
    seed: int
    account: list[AccountRow]


def transfer_init(
    checkpoint: Checkpoint, labelset: LabelSet, *, min_similarity: float = MIN_SIMILARITY, seed: int = 0
) -> TransferredHead:
    """The classifier for `labelset` from the head of `checkpoint`: of pre-training, or a foreign one's.

    A row is the mean over the label's words of the mean over the classes that each is met by. A random row is
    drawn from a normal distribution with the mean and the standard deviation of the head's rows in each
    feature, so that its logits are of the others' size and level; its bias is their mean. It depends on
    `seed` and the label's place alone. For labels that exclude each other the biases of a vocabulary's
    classes are adjusted, as said above. Raises CheckpointError for a checkpoint of which nothing says what
    its rows mean; UsageError for a tower whose head is not one linear layer: it has no rows.
    """
    synsets = checkpoint.synsets
    if synsets is None:
        raise CheckpointError(
            f"{checkpoint.name} has no vocabulary, and its labels are not synsets: "
            "nothing says what its rows mean",
            "take a run of objective catlip, or a timm model with ImageNet's classes; "
            "`catlipctl eval lp` and `eval ft` need neither",
        )
    head = checkpoint.tower.linear_head()
    rows = head.weight.detach().float().cpu()
    if len(rows) != len(synsets):
        raise CheckpointError(
            f"the classifier has {len(rows):,} rows and the vocabulary {len(synsets):,} keys",
            "take the checkpoint that pre-training wrote, not one that was made from it",
        )
    biases = torch.zeros(len(rows)) if head.bias is None else head.bias.detach().float().cpu()
    if not labelset.multi_label:
        biases = biases - _log_frequencies(checkpoint)
    place = {key: row for row, key in enumerate(synsets)}
    matches = match_labels(labelset, synsets, min_similarity)
    generator = torch.Generator().manual_seed(seed)
    spread = rows.std(0, correction=0)
    weight = rows.mean(0) + spread * torch.randn(len(matches), rows.shape[1], generator=generator)
    bias = biases.mean().repeat(len(matches))
    for i, label in enumerate(matches):
        if label.matches:
            classes = [[place[key] for key in synset.sources] for synset in label.matches]
            weight[i] = torch.stack([rows[ids].mean(0) for ids in classes]).mean(0)
            bias[i] = torch.stack([biases[ids].mean() for ids in classes]).mean()
    return TransferredHead(labelset.name, weight, bias, _account(labelset, matches))


def write_transfer_init(
    checkpoint: Checkpoint,
    labelset: LabelSet,
    out: Path,
    *,
    min_similarity: float = MIN_SIMILARITY,
    seed: int = 0,
    head_only: Path | None = None,
) -> TransferInit:
    """Do Transfer Init and write the tower with its new head as the checkpoint `out`, with `account.csv`.

    `head_only`: a safetensors file to write `weight [K, D]` and `bias [K]` to as well. Neither may exist.
    Raises DataError where no label is met: all rows would be random.
    """
    if head_only is not None:
        refuse_taken(head_only)
    head = transfer_init(checkpoint, labelset, min_similarity=min_similarity, seed=seed)
    if not head.mapped.any():
        raise DataError(
            f"no class of the checkpoint's head is like any of the {len(labelset):,} labels of "
            f"{labelset.name}: all rows would be random",
            "Transfer Init needs a vocabulary of synsets (extractor corenet or nouns) near the target's",
        )
    section = {
        "kind": "transfer-init",
        "target": labelset.name,
        "min_similarity": min_similarity,
        "seed": seed,
    }
    written = checkpoints.write(
        out,
        tower=with_head(checkpoint.tower, head.weight, head.bias),
        config={**section, "from": checkpoint.name},
        problem_type=checkpoints.MULTI_LABEL if labelset.multi_label else checkpoints.SINGLE_LABEL,
        label_names=[label.name for label in labelset.labels],
        files={ACCOUNT: account_csv(head.account)},
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
        min_similarity=min_similarity,
        seed=seed,
        account=head.account,
    )


def _log_frequencies(checkpoint: Checkpoint) -> Tensor | float:
    """`[V]`, up to a constant: the log of how often captions name each class; 0 where there were none.

    It is the prior log-odds that a calibrated head's logits hold, as far as classes are rare.
    """
    if checkpoint.vocabulary is None:
        return 0.0
    logs = torch.tensor([math.log(max(count, 1)) for count in checkpoint.vocabulary.counts])
    return logs - logs.mean()


def account_csv(account: Sequence[AccountRow]) -> str:
    """The account as CSV, which `labels.targets.load` reads as a label set."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in account:
        lists = (" ".join(names) for names in (row.sources, row.source_names, row.missed))
        writer.writerow([row.label, " ".join(row.synsets), row.how, f"{row.similarity:.4g}", *lists])
    return stream.getvalue()


def read_account(path: Path) -> list[AccountRow]:
    """What `account_csv` wrote; CheckpointError names a row that it did not."""
    rows = []
    for number, row in enumerate(_KIND.read_table(path, COLUMNS), start=1):
        try:
            rows.append(AccountRow.from_csv(row))
        except ValueError as error:
            raise _KIND.refused(path, f"row {number} has a wrong value") from error
    return rows


def _account(labelset: LabelSet, matches: Sequence[LabelMatch]) -> list[AccountRow]:
    name = wordnet.nouns().name
    return [
        AccountRow(
            label=label.name,
            synsets=[name(key) for key in label.synsets],
            how=match.how,
            similarity=match.similarity,
            sources=list(match.sources),
            source_names=[name(key) for key in match.sources],
            missed=[name(key) for key in match.missed],
        )
        for label, match in zip(labelset.labels, matches, strict=True)
    ]
