"""Transfer Init (CatLIP, 4.2): a target's classifier made from the rows of the pre-training classifier.

A pre-training head gives a sigmoid a class, but the classes of most targets exclude each other. If exactly
one of several independent labels is present, it is label k with the probability exp(z_k) / sum_j exp(z_j).
The z are the log-odds that the sigmoids give, so a softmax of the same logits is right. They also hold how
often captions name each class, which says nothing of the target. This is taken out of the biases (logit
adjustment, Menon et al. 2021): all classes are equally frequent at first. Without any training, the demo's 12
emoji classes are then told apart with 44.5 % top-1 accuracy, and with 37.9 % by the biases as they are. For
CIFAR-10, from another run, it is 21.3 % and 20.6 %.
"""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from catlipctl.checkpoints import Checkpoint
from catlipctl.errors import CheckpointError
from catlipctl.labels.targets import HOWS, How, LabelSet, Mapping, read_by
from catlipctl.transfer.initialise.account import AccountRow, account_of
from catlipctl.transfer.initialise.calibration import Rows, smoothed
from catlipctl.transfer.initialise.matching import MIN_SIMILARITY, match_labels


@dataclass(frozen=True)
class TransferredHead:
    """A classifier for a target: weight `[K, D]`, bias `[K]` (float32), and how each row was made.

    rows: whether they are copies of the head's, or calibrated.
    """

    target: str
    weight: Tensor
    bias: Tensor
    account: list[AccountRow]
    rows: Rows = "plain"

    @property
    def mapped(self) -> Tensor:
        """`[K]`, bool: the rows that are not random."""
        return torch.tensor([row.how != "random" for row in self.account])

    @property
    def distinct_rows(self) -> int:
        """How many different rows mean something: labels met by the same classes share one."""
        return len(torch.unique(self.weight[self.mapped], dim=0))

    def counts(self) -> dict[How, int]:
        """How many labels were met in each way."""
        found = Counter(row.how for row in self.account)
        return {how: found[how] for how in HOWS}


def transfer_init(
    checkpoint: Checkpoint,
    labelset: LabelSet,
    *,
    min_similarity: float = MIN_SIMILARITY,
    mapping: Mapping = "heads",
    rows: Rows = "plain",
    seed: int = 0,
) -> TransferredHead:
    """The classifier for `labelset` from the head of `checkpoint`: of pre-training, or a foreign one's.

    mapping: how names are read (`labels.targets.words`), and how they are met (`matching`).

    A row is the mean over the label's words of the mean over the classes that each is met by. A random row is
    drawn from a normal distribution with the mean and the standard deviation of the head's rows in each
    feature, so that its logits are of the others' size and level; its bias is their mean. It depends on
    `seed` and the label's name alone. For labels that exclude each other the biases of a vocabulary's
    classes are adjusted, as said above. rows: `calibrated` ones are for such labels and classes of a
    vocabulary alone; else they are plain. Raises CheckpointError for a checkpoint of which nothing says what
    its rows mean; UsageError for a tower whose head is not one linear layer: it has no rows.
    """
    synsets = checkpoint.synsets
    if synsets is None:
        raise CheckpointError(
            f"{checkpoint.name} has no vocabulary, and its labels are not synsets: "
            "nothing says what its rows mean, so there is Random Init only",
            "take a run of objective catlip, a head with ImageNet's classes, or what CatLIP released, by "
            "`catlipctl checkpoint import --vocab`; `catlipctl eval lp` and `eval ft` need neither",
        )
    head = checkpoint.tower.linear_head()
    learned = head.weight.detach().float().cpu()
    if len(learned) != len(synsets):
        raise CheckpointError(
            f"the classifier has {len(learned):,} rows and the vocabulary {len(synsets):,} keys",
            "take the checkpoint that pre-training wrote, not one that was made from it",
        )
    biases = torch.zeros(len(learned)) if head.bias is None else head.bias.detach().float().cpu()
    if not labelset.multi_label:
        biases = biases - _log_frequencies(checkpoint)
    place = {key: row for row, key in enumerate(synsets)}
    labelset = read_by(mapping, labelset)
    matches = match_labels(labelset, synsets, min_similarity, mapping)
    drawn = torch.stack([_drawn(learned.shape[1], f"{seed} {label.name}") for label in labelset.labels])
    weight = learned.mean(0) + learned.std(0, correction=0) * drawn
    bias = biases.mean().repeat(len(matches))
    if labelset.multi_label or checkpoint.vocabulary is None:
        rows = "plain"
    length = learned.norm(dim=1).mean()
    if rows == "calibrated":
        wanted = sorted({place[key] for label in matches for key in label.sources})
        whole = smoothed(torch.cat([learned, biases[:, None]], 1), synsets, wanted)
        learned, biases = whole[:, :-1], whole[:, -1]
    for i, label in enumerate(matches):
        if label.matches:
            # In order, so that labels met by the same classes have the same row to the bit.
            classes = sorted(sorted(place[key] for key in synset.sources) for synset in label.matches)
            weight[i] = torch.stack([learned[ids].mean(0) for ids in classes]).mean(0)
            bias[i] = torch.stack([biases[ids].mean() for ids in classes]).mean()
            if rows == "calibrated":
                weight[i] *= length / weight[i].norm()
    shared = torch.unique(weight, dim=0, return_inverse=True, return_counts=True)
    account = account_of(labelset, matches, (shared[2][shared[1]] - 1).tolist())
    return TransferredHead(labelset.name, weight, bias, account, rows)


def _drawn(size: int, by: str) -> Tensor:
    """`[size]`, standard normal: the same wherever a label stands, so that a changed one changes no other."""
    seed = int.from_bytes(hashlib.sha256(by.encode()).digest()[:8], "big")
    return torch.randn(size, generator=torch.Generator().manual_seed(seed % 2**63))


def _log_frequencies(checkpoint: Checkpoint) -> Tensor | float:
    """`[V]`, up to a constant: the log of how often captions name each class; 0 where there were none.

    It is the prior log-odds that a calibrated head's logits hold, as far as classes are rare.
    """
    if checkpoint.vocabulary is None:
        return 0.0
    logs = torch.tensor([math.log(max(count, 1)) for count in checkpoint.vocabulary.counts])
    return logs - logs.mean()
