"""How long processes wait for one another: a slow machine and a silent server are no hang."""

from datetime import timedelta

from catlipctl.data.sources.storage.remote import ANSWER_SECONDS
from catlipctl.data.sources.storage.retrying import PAUSES
from catlipctl.training.loop import between_steps
from catlipctl.training.world import SHORT_WAIT


def test_a_step_may_take_longer_than_those_before_and_a_read_may_fail_by_its_own_error() -> None:
    assert between_steps(300.0) > timedelta(seconds=300 * (384 / 128) ** 2), "a larger image size"
    tries = len(PAUSES) + 1
    assert between_steps(0.1) == SHORT_WAIT
    assert timedelta(seconds=sum(PAUSES) + tries * ANSWER_SECONDS) < SHORT_WAIT
