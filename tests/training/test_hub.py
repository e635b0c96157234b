"""Rank 0's ear: what comes over real sockets, from processes of the run and from strangers."""

import json
import socket
import threading

import pytest

from catlipctl.training.hub import Hub


def said(hub: Hub, *messages: object) -> socket.socket:
    """A connection that has sent these messages, all at once."""
    connection = socket.create_connection(("127.0.0.1", hub.port), 10)
    connection.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
    return connection


def ended(connection: socket.socket) -> bool:
    return connection.recv(2**16) == b""


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_hears_on_after_last_words_that_come_together_and_what_strangers_send() -> None:
    threads = threading.active_count()
    hub = Hub(2)
    with socket.create_connection(("127.0.0.1", hub.port), 10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\xff\xfe\r\n")
        assert ended(stranger)
    for message in (1, [], {}, {"token": "guessed", "rank": 1, "host": "there"}):
        with said(hub, message) as stranger:
            assert ended(stranger)

    here = {"token": hub.token, "host": "here"}
    with said(hub, here | {"rank": 1}, {"kind": "heard"}, {"kind": "bye"}) as connection:
        assert ended(connection)
    with said(hub, here | {"rank": 0}) as first, said(hub, here | {"rank": 1}) as second:
        second.close()
        cause = json.loads(first.recv(2**16))["cause"]
        assert (cause["rank"], cause["message"][:16]) == (1, "process 1 of 2 (")
        first.sendall(b'{"kind": "heard"}\n')
        assert ended(first)
    hub.close()
    assert threading.active_count() == threads
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", hub.port), 10)
