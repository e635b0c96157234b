"""What a network does wrong, in one sentence, whichever library met it; and soon, where nothing answers.

`huggingface_hub` tries five times over 24 seconds and prints each try; aiohttp waits five minutes for a host
that is silent; each library has errors of its own. So whoever goes to a server asks here first whether
anything answers there, and has what the libraries raise translated here.
"""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from catlipctl.errors import CatlipctlError, MachineError

PATIENCE = 4.0
"""Seconds for a name to be resolved and a connection to be made, before a server counts as silent."""
_FAILURES = {
    *("ConnectionError", "TimeoutError", "gaierror", "SSLError"),  # Python's own, and requests'
    *("TransportError", "Timeout", "ClientConnectionError", "ClientPayloadError", "URLError"),
    # What huggingface_hub makes of them: a file that is not in its cache either.
    *("LocalEntryNotFoundError", "OfflineModeIsEnabled"),
}
"""Classes of httpx, requests, aiohttp, urllib and huggingface_hub, by name: not all are there."""
_TALKATIVE = ("huggingface_hub", "datasets", "fsspec", "urllib3", "asyncio")


def silence(url: str) -> str:
    """Why nothing answers at a URL's host, or at the proxy that leads there; '' where something does."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    reasons: list[str] = []

    def connect() -> None:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), PATIENCE).close()
            reasons.append("")
        except (OSError, ValueError) as error:
            reasons.append(getattr(error, "strerror", None) or str(error))

    # Beside us, because nothing bounds the time in which a name is resolved.
    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return reasons[0] if reasons else f"nothing within {PATIENCE:g} s"


def failure(error: BaseException | None) -> str:
    """What the network or the server did wrong, if that is the cause of an error; '' where it is not.

    That a server has no such thing, or keeps it from us (404, 401, 403), is no failure of it.
    """
    found = ""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        status = _status(error)
        if status is not None:
            return str(error).splitlines()[0] if status >= 500 or status in (408, 429) else ""
        if not _FAILURES.isdisjoint(base.__name__ for base in type(error).__mro__):
            said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
            found = said.splitlines()[0]
        error = error.__cause__ or error.__context__
    return found


def is_withheld(error: BaseException) -> bool:
    """Whether a server does not give something to us, or to nobody (401, 403)."""
    return isinstance(error, PermissionError) or _status(error) in (401, 403)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error stands for, as httpx, requests, aiohttp or urllib keep it."""
    response: Any = getattr(error, "response", None)
    for status in (getattr(response, "status_code", None), getattr(error, "status", None)):
        if isinstance(status, int):
            return status
    code = getattr(error, "code", None)
    return code if isinstance(code, int) and type(error).__name__ == "HTTPError" else None


@contextmanager
def hub(what: str, hint: str) -> Iterator[None]:
    """Inside, `what` is fetched from the Hugging Face Hub: where that is silent, from its cache or not.

    Raises:
        MachineError: it could not be fetched; `hint` says what helps.
    """
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    why = "" if offline else silence(constants.ENDPOINT)
    try:
        constants.HF_HUB_OFFLINE = offline or bool(why)
        with _quiet():
            yield
    except CatlipctlError:
        raise
    except Exception as error:
        said = failure(error)
        if not said:
            raise
        reason = f"{constants.ENDPOINT} does not answer ({why})" if why else said
        raise MachineError(f"{what} cannot be fetched: {reason}", hint) from error
    finally:
        constants.HF_HUB_OFFLINE = offline


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries say nothing of their own inside; what went wrong is in their error."""
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
