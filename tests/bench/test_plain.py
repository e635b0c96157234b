"""The plain steps do what ours do: from the same weights they come to the same."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.learners import ours
from catlipctl.bench.plain import plain_open_clip, plain_timm
from catlipctl.training.world import World

STEPS = 3


@pytest.fixture
def comparison(tiny: Path) -> Comparison:
    return Comparison(model=str(tiny), batch_size=4, classes=100, seed=0)


CATLIP, CLIP = Entry(name="", objective="catlip"), Entry(name="", objective="clip", context=77)


def silent(_: object) -> None:
    """Nobody times."""


def test_a_plain_timm_step_is_catlips(comparison: Comparison) -> None:
    own, plain = (build(CATLIP, comparison, World(cpu=True)) for build in (ours, plain_timm))
    losses = [[one.step(silent) for _ in range(STEPS)] for one in (own, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    weights = {name.removeprefix("model."): value for name, value in own.module.state_dict().items()}
    torch.testing.assert_close(weights, dict(plain.module.state_dict()), rtol=1e-3, atol=1e-4)


def test_a_plain_open_clip_step_is_clips(comparison: Comparison) -> None:
    own, plain = (build(CLIP, comparison, World(cpu=True)) for build in (ours, plain_open_clip))
    plain.module.load_state_dict(of_open_clip(own.module.state_dict()))
    losses = [[one.step(silent) for _ in range(STEPS)] for one in (own, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def of_open_clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our CLIP's weights under the names of open_clip's."""
    found = {
        name.replace("model.0.", "visual.").removeprefix("text."): value.clone()
        for name, value in weights.items()
    }
    found["visual.proj"] = found.pop("model.1.weight").T.contiguous()
    return found
