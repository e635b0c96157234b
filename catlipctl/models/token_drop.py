"""Token dropping: in training a ViT sees some of an image's patches, drawn anew each time (FLIP, Li et al.).

The work of a step falls with the patches, and more of the data is seen in the same time. FLIP trains the
last part of a run on whole images, so that the tower meets what it is used on.
"""

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from catlipctl.data.batch import Step
from catlipctl.errors import UsageError
from catlipctl.models import draws
from catlipctl.models.tower import Tower

_STREAM = 0x544F_4B45_4E44_524F
"""Keeps these draws apart from those of the crop, which are functions of the same seed and positions."""


class TokenDrop(nn.Module):
    """Stands where a timm ViT drops patches (`patch_drop`), after positions are added. It has no weights.

    prefix: tokens that are no patches, and always kept.
    """

    def __init__(self, prefix: int, seed: int) -> None:
        super().__init__()
        self.prefix, self.key = prefix, draws.stream(seed, _STREAM)
        self.share = 0.0
        self.keys: Tensor | None = None

    def draw(self, step: Step, positions: Tensor, device: torch.device) -> None:
        """Be ready for the images at these positions of a step. positions: int64 `[B]`, on the CPU."""
        self.share, self.keys = step.token_drop, None
        if self.share:
            self.keys = draws.device_keys(draws.image_keys(self.key, positions), device)

    def forward(self, tokens: Tensor) -> Tensor:
        """The tokens that are kept of `[B, L, D]`, in their order; all of them in eval mode."""
        if not self.training or self.keys is None:
            return tokens
        patches = tokens.shape[1] - self.prefix
        # By the places of the smallest draws. As many as timm and open_clip keep.
        order = draws.bits(self.keys, patches).argsort(dim=1, stable=True)
        kept = order[:, : max(1, int(patches * (1 - self.share)))].sort(dim=1).values + self.prefix
        found = tokens.gather(1, kept[:, :, None].expand(-1, -1, tokens.shape[2]))
        return torch.cat([tokens[:, : self.prefix], found], dim=1)


def add_token_drop(tower: Tower, seed: int) -> TokenDrop:
    """Have a tower drop patches in training. Saved it is as it was: nothing of it stands in timm's config.

    UsageError for a tower that is no plain ViT of timm's, or one that drops patches by `model_args`.
    """
    module: Any = tower.module
    if not isinstance(module, VisionTransformer):
        raise UsageError(
            f"model.token_drop: {tower.name} cannot leave out patches: only a plain ViT can",
            "set model.token_drop=0, or take a ViT (vit_*, deit*)",
        )
    if not isinstance(module.patch_drop, nn.Identity | TokenDrop):
        raise UsageError(
            "model.token_drop: model.model_args has a patch_drop_rate of its own",
            "give one of the two: patch_drop_rate is saved with the tower, too, and knows no unmasked tuning",
        )
    made = TokenDrop(module.num_prefix_tokens, seed)
    module.patch_drop = made  # type: ignore[assignment]
    return made
