"""Servers that are not there, against the libraries that would meet them, on the loopback."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import huggingface_hub
import pytest
import requests
from huggingface_hub import constants

from catlipctl import network
from catlipctl.errors import DataError, MachineError


@pytest.fixture
def closed() -> Iterator[str]:
    """A URL of the loopback where nothing listens, because the port is bound and no more."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def caught(call) -> Exception:
    with pytest.raises(Exception) as error:  # noqa: PT011 - whatever the library raises
        call()
    return error.value


def test_silence(closed, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_ = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert network.silence(open_) == ""
        assert network.silence(closed) == "Connection refused"
        assert network.silence("https://nosuch.invalid/a.tar")
        monkeypatch.setenv("http_proxy", open_)
        assert network.silence("http://nosuch.invalid") == ""
        monkeypatch.setenv("http_proxy", closed.removeprefix("http://"))
        assert network.silence("http://nosuch.invalid") == "Connection refused"


def test_a_host_that_is_silent_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(network, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(8)]  # more than the queue takes: later ones get no answer
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        assert network.silence(f"http://127.0.0.1:{address[1]}") in ("timed out", "nothing within 0.2 s")
        for one in waiting:
            one.close()


def test_failures_of_each_library(closed):
    httpx = pytest.importorskip(type(huggingface_hub.utils.get_session()).__module__.partition(".")[0])
    for call in (
        lambda: urllib.request.urlopen(closed, timeout=1),
        lambda: requests.get(closed, timeout=1),
        lambda: httpx.Client().get(closed),
        lambda: socket.create_connection(("127.0.0.1", int(closed.rpartition(":")[2])), 1),
    ):
        assert "refused" in network.failure(caught(call)).lower()
    assert network.failure(ValueError("no network's")) == ""
    for status, failed in ((404, False), (403, False), (500, True), (503, True), (429, True)):
        error = urllib.error.HTTPError(closed, status, "said", None, None)
        assert bool(network.failure(error)) == failed


def cached(cache, name: str, body: str) -> None:
    """A file in the layout of the Hub's cache."""
    repository = cache / "models--org--name"
    (repository / "snapshots" / "0123").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    (repository / "snapshots" / "0123" / name).write_text(body)


def test_without_a_hub_what_is_cached_is_there_at_once(tmp_path, closed, monkeypatch, capfd):
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    monkeypatch.setattr("time.sleep", None)  # nothing is tried again
    cached(tmp_path, "config.json", "{}")
    with network.hub("org/name", "a hint"):
        assert huggingface_hub.hf_hub_download("org/name", "config.json", cache_dir=tmp_path)
    with (
        pytest.raises(
            MachineError, match=rf"^org/name cannot be fetched: {closed} does not answer \(Con"
        ) as error,
        network.hub("org/name", "a hint"),
    ):
        huggingface_hub.hf_hub_download("org/name", "model.safetensors", cache_dir=tmp_path)
    assert (error.value.hint, error.value.exit_code) == ("a hint", 5)
    assert capfd.readouterr() == ("", "")
    assert constants.HF_HUB_OFFLINE is False


def test_other_errors_pass(closed, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    for raised in (DataError("ours"), KeyError("theirs")):
        with pytest.raises(type(raised)), network.hub("org/name", "a hint"):
            raise raised
