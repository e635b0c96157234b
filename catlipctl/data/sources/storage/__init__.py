"""Where the bytes of a file lie: on a local disk, or behind a URL; reads that fail are tried again."""

from catlipctl.data.sources.storage.descriptors import close_files
from catlipctl.data.sources.storage.file import File, listed, look_at, read_file, read_small
from catlipctl.data.sources.storage.remote import remote_glob
from catlipctl.data.sources.storage.retrying import ReadFailed, count_retries, is_url, local, retries

__all__ = [
    "File",
    "ReadFailed",
    "close_files",
    "count_retries",
    "is_url",
    "listed",
    "local",
    "look_at",
    "read_file",
    "read_small",
    "remote_glob",
    "retries",
]
