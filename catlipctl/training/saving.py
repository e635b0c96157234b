"""What a checkpoint of a run under way holds beyond the weights to use."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from catlipctl import checkpoints
from catlipctl.objectives import Objective
from catlipctl.training import optimiser as optimisers
from catlipctl.training.recipe import PretrainRecipe
from catlipctl.vocabulary import Vocabulary


@dataclass
class TrainingState:
    """All that changes as a run goes on. Random draws are no part: they are functions of (seed, step)."""

    objective: Objective
    optimiser: torch.optim.AdamW
    average: ModelEmaV3 | None
    step: int = 0
    totals: dict[str, float] = field(default_factory=lambda: {"seconds": 0.0, "replaced": 0, "unlabelled": 0})
    """Sums over the run: seconds of training, images replaced, images seen that have no label."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """The model's weights as one should use them: the average where there is one."""
        model = self.objective.model if self.average is None else self.average.module
        return model.state_dict()

    def tensors(self) -> dict[str, Tensor]:
        """What resuming needs and `weights` does not have: raw weights under an EMA, optimiser."""
        raw = {
            f"objective/{name}": value
            for name, value in self.objective.state_dict().items()
            if self.average is not None or not name.startswith("model.")
        }
        moments = optimisers.named_state(self.optimiser, self.objective)
        return raw | {f"optimiser/{name}": value for name, value in moments.items()}


def save(
    run: Path,
    state: TrainingState,
    recipe: PretrainRecipe,
    vocabulary: Vocabulary,
    circumstances: dict[str, Any],
) -> Path:
    """Write the checkpoint of the state's step; `circumstances` are for who resumes it (`resuming`)."""
    samples = state.step * recipe.global_batch_size
    return checkpoints.write_step(
        run,
        state.step,
        model=state.objective.model,
        weights=state.weights,
        config={"recipe": recipe.model_dump(mode="json"), "step": state.step, "samples": samples},
        vocabulary=vocabulary,
        state=state.tensors(),
        state_json={
            "step": state.step,
            "samples": samples,
            "totals": state.totals,
            **circumstances,
        },
    )
