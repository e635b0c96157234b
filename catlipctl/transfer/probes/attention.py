"""A classifier on the patches of a frozen tower: AIM's pooling by attention (arXiv 2401.08541).

Its module is that of the authors' code (apple/ml-aim, `AttentionPoolingClassifier`): BatchNorm without
weights on the patches, one learned query in several heads, keys and values without a bias, then a linear
layer; here that has a bias. The query is one for all images, so it is folded into the keys, and values are
made of the pooled patches: the same function, without two products of D x D for each patch.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from catlipctl.errors import CheckpointError

MOST_HEADS = 12
"""AIM's; fewer where the width is no multiple."""


class AttentiveClassifier(nn.Module):
    """Of patches `[B, T, D]`, of any float type: logits `[B, K]`.

    norm: D means and variances, over all patches. query: `[H, D / H]`. key, value: `[D, D]`. classifier:
    `[K, D]` and `[K]`.
    """

    def __init__(self, width: int, classes: int, heads: int | None = None) -> None:
        super().__init__()
        heads = heads or max(n for n in range(1, MOST_HEADS + 1) if width % n == 0)
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.query = nn.Parameter(0.02 * torch.randn(heads, width // heads))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.classifier = nn.Linear(width, classes)

    @classmethod
    def load(cls, path: Path) -> "AttentiveClassifier":
        """What a probe wrote as `head.safetensors`, in eval mode. CheckpointError for any other file."""
        try:
            state = load_file(path)
            made = cls(state["key.weight"].shape[1], len(state["classifier.weight"]), len(state["query"]))
            made.load_state_dict(state)
        except Exception as error:
            raise CheckpointError(
                f"{path} is no attentive classifier: {error}", "name the head.safetensors of eval attentive"
            ) from error
        return made.eval()

    def forward(self, patches: Tensor) -> Tensor:
        """Logits `[B, K]`."""
        heads, size = self.query.shape
        x = self.norm(patches.float().flatten(0, 1)).view(patches.shape)
        query = torch.einsum("hs,hsd->hd", self.query, self.key.weight.view(heads, size, -1))
        attention = torch.softmax(x @ query.T / math.sqrt(size), 1)
        pooled = attention.transpose(1, 2) @ x
        values = torch.einsum("bhd,hsd->bhs", pooled, self.value.weight.view(heads, size, -1))
        logits: Tensor = self.classifier(values.flatten(1))
        return logits
