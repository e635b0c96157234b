"""Peak memory is the training's own."""

from pathlib import Path

import pytest

from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.memory import trial
from catlipctl.errors import CatlipctlError
from catlipctl.training.world import World

CATLIP = Entry(name="catlip", objective="catlip")


@pytest.mark.slow
def test_peak_memory_holds_weights_gradients_and_moments_and_nothing_of_the_parents(tiny: Path) -> None:
    classes = 400_000
    ballast = bytearray(b"x") * 2**30
    comparison = Comparison(model=str(tiny), batch_size=2, classes=classes)
    peak, seconds = trial(CATLIP, comparison, World(cpu=True))
    assert len(ballast) == 2**30
    least = classes * 65 * 4 * 4
    assert least < peak < 2 * least
    assert seconds > 0


@pytest.mark.slow
def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(CatlipctlError, match="no configuration named"):
        trial(CATLIP, Comparison(model="none", batch_size=2, classes=9), World(cpu=True))
