"""The exponential moving average of the weights (EMA), fitted to the length of the run."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from timm.utils.model_ema import ModelEmaV3
from torch import nn

TOO_MUCH_LEFT = 0.01
"""Share of the initial weights in the final average from which a run is warned."""


class EmaSettings(BaseModel):
    """The recipe's section `ema`.

    momentum: the weight of each new step (5e-4 in CatLIP Table 6), `fit` for min(1, 10 / steps), null for
    no EMA.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    momentum: Annotated[float, Field(gt=0, le=1)] | Literal["fit"] | None = None

    def of(self, steps: int) -> float | None:
        """The momentum in a run of `steps`.

        Fitted, e^-10 of the initial weights are left at the end, whatever the length.
        """
        return min(1.0, 10 / max(1, steps)) if self.momentum == "fit" else self.momentum


def left_of_start(momentum: float, steps: int) -> float:
    """The share of the initial weights in the average after `steps`: (1 - momentum)^steps."""
    return float((1 - momentum) ** steps)


def create(model: nn.Module, momentum: float) -> ModelEmaV3:
    """An average that starts at the weights of `model`; buffers are averaged too, as in the released code."""
    return ModelEmaV3(model, decay=1 - momentum)
