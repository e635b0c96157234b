"""Files behind URLs, through fsspec: what answers at an address, and what lies there."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from catlipctl import network
from catlipctl.data.sources.storage.retrying import ReadFailed, persistently
from catlipctl.errors import DataError, MachineError

ANSWER_SECONDS = 30
"""How long a server may say nothing in the midst of a read, before it has failed."""
HTTP = ("http", "https")
_PACKAGED = (*HTTP, "s3", "s3a", "gs", "gcs")
"""Protocols whose packages the extra `remote` brings."""


def filesystem_of(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    # fsspec keeps one instance a process and thread, so this is cheap and right after a fork.
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        return url_to_fs(url, **(_http_options() if protocol in HTTP else {}))
    except ImportError as error:
        hint = "pip install 'catlipctl[remote]'" if protocol in _PACKAGED else "install it beside catlipctl"
        raise MachineError(f"{url} needs another package: {error}", hint) from error
    except ValueError as error:
        raise DataError(f"{url}: {error}", "use a path, or a URL of a protocol that fsspec knows") from error


@lru_cache
def _http_options() -> dict[str, Any]:
    """aiohttp goes through the proxies of the environment, as requests does, and waits for no dead server.

    Its own limit, five minutes for a whole request, is too long for one and too short for the other.
    """
    import aiohttp

    limits = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=ANSWER_SECONDS)
    return {"client_kwargs": {"trust_env": True, "timeout": limits}}


def described(url: str) -> Mapping[str, Any]:
    """What a file's server says of it, its size at least.

    Raises:
        FileNotFoundError: there is none. ReadFailed: the server does not say.
        DataError: it does not tell the size, so that the file cannot be read by ranges.
    """
    filesystem, inner = filesystem_of(url)
    _refuse_silent(url)
    info: Mapping[str, Any] = persistently(lambda: filesystem.info(inner), url)
    if info.get("size") is None:
        raise DataError(f"the server of {url} does not tell the file's size", "download the file first")
    return info


def listed(urls: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Those of some files in one folder of a server that its listing describes: a request for a thousand.

    Empty where it lists nothing, or tells no sizes, as http(s) does not.
    """
    if urls[0].partition("://")[0] in HTTP:
        return {}
    filesystem, inner = filesystem_of(urls[0])
    folder = inner.rpartition("/")[0]
    try:
        infos = persistently(lambda: filesystem.ls(folder, detail=True), urls[0].rpartition("/")[0])
    except OSError:
        return {}
    by_name = {info["name"].rpartition("/")[2]: info for info in infos if info.get("size") is not None}
    names = {url: url.rpartition("/")[2] for url in urls}
    return {url: by_name[name] for url, name in names.items() if name in by_name}


def read_whole(url: str) -> bytes:
    """The bytes of a small file.

    Raises:
        OSError: there is none, or a server keeps it from us: S3 says 403, not 404, to whoever may not list
            the folder. ReadFailed: it cannot be read.
    """
    filesystem, inner = filesystem_of(url)

    def read() -> bytes:
        try:
            return bytes(filesystem.cat_file(inner))
        except Exception as error:
            if network.is_withheld(error):
                raise FileNotFoundError(url) from None
            raise

    return persistently(read, url)


def remote_glob(url: str) -> list[str]:
    """The URLs that a glob on a server stands for, sorted."""
    filesystem, inner = filesystem_of(url)
    _refuse_silent(url)
    found = persistently(lambda: filesystem.glob(inner), url)
    return [filesystem.unstrip_protocol(path) for path in sorted(found)]


def _refuse_silent(url: str) -> None:
    """See that something answers at an http(s) URL's host, rather than wait for minutes.

    Raises:
        ReadFailed: nothing does.
    """
    protocol, _, rest = url.partition("://")
    if protocol in HTTP and (why := _silence_of(f"{protocol}://{rest.partition('/')[0]}")):
        _silence_of.cache_clear()
        raise ReadFailed(
            f"{url} cannot be read: its server does not answer ({why})",
            "check the address and the network; then run the same command again",
        )


@lru_cache
def _silence_of(server: str) -> str:
    return network.silence(server)
