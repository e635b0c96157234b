"""Launchers that lose signals."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from catlipctl.doctor import launching

TORCHRUN = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in (*TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE"):
            patch.delenv(name, raising=False)
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, "ok"),
        (TORCHRUN, "warning"),
        ({**TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT"}, "warning"),
        ({**TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGINT,SIGTERM,SIGUSR1"}, "warning"),
        ({**TORCHRUN, "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGUSR1,SIGHUP,SIGQUIT,SIGINT,SIGTERM"}, "ok"),
        ({"WORLD_SIZE": "2"}, "failed"),
    ],
)
def test_launcher_that_loses_signals_is_told(values: dict[str, str], status: str) -> None:
    with environment(values):
        check = launching.launcher()
    assert check.status == status
    assert ("--signals-to-handle" in check.mend) == (status == "warning")
