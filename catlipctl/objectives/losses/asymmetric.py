"""ASL: binary cross-entropy in which a negative that is easy, or that may be a missing label, counts little.

Ridnik et al. 2021; the gradient is that of the whole term, as in the paper. Their code may leave
the focusing factors out of the gradient (`disable_torch_grad_focal_loss`); this does not.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from catlipctl.objectives.losses.pairs import Pairs
from catlipctl.objectives.losses.separable import separable
from catlipctl.settings.losses import AsymmetricSettings


def asymmetric(logits: Tensor, pairs: Pairs, settings: AsymmetricSettings) -> Tensor:
    """The asymmetric loss of `logits [B, V]` summed over classes, mean over images: 0-D.

    With p a logit's sigmoid, a positive's term is -(1 - p)^gamma+ log p. A negative's is -q^gamma- log(1 - q)
    with q = max(p - margin, 0).
    """
    return separable(
        logits, pairs, _Asymmetric(settings.negative_focus, settings.positive_focus, settings.margin)
    )


@dataclass(frozen=True)
class _Asymmetric:
    negative_focus: float
    positive_focus: float
    margin: float

    def negative(self, logits: Tensor) -> Tensor:
        shifted, logarithm = self._shifted(logits)
        return shifted.pow(self.negative_focus) * logarithm

    def negative_slope(self, logits: Tensor) -> Tensor:
        shifted, logarithm = self._shifted(logits)
        to_shifted = torch.sigmoid(logits) * torch.sigmoid(-logits)
        if self.margin:
            to_shifted = torch.where(shifted > 0, to_shifted, 0)
            to_logarithm = to_shifted / (1 - shifted)
        else:
            to_logarithm = torch.sigmoid(logits)
        slope = shifted.pow(self.negative_focus) * to_logarithm
        if self.negative_focus:
            # A power below 0 of 0 is infinite, where the other factor is 0.
            power = shifted.clamp(min=torch.finfo(shifted.dtype).tiny).pow(self.negative_focus - 1)
            slope += self.negative_focus * power * to_shifted * logarithm
        return slope

    def positive(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(-logits).pow(self.positive_focus) * F.softplus(-logits, threshold=40)

    def positive_slope(self, logits: Tensor) -> Tensor:
        missing, logarithm = torch.sigmoid(-logits), F.softplus(-logits, threshold=40)
        within = self.positive_focus * torch.sigmoid(logits) * logarithm + missing
        return -missing.pow(self.positive_focus) * within

    def _shifted(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The probability without the margin, q, and -log(1 - q)."""
        if not self.margin:  # 1 - p would be 0 where p rounds to 1
            return torch.sigmoid(logits), F.softplus(logits, threshold=40)
        shifted = (torch.sigmoid(logits) - self.margin).clamp(min=0)
        return shifted, -torch.log1p(-shifted)
