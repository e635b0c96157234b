"""Is this the data that it was? By what its samples hold: a path or a time of writing may change alone."""

import hashlib

from catlipctl.data.sample import Source
from catlipctl.data.sources.concatenation import Concatenation
from catlipctl.data.sources.streams import StreamSource

LOOKED_AT = 64
"""Samples that are read: enough to tell other data or another order, few enough for a remote source."""


def content_hash(source: Source) -> str:
    """A hash of a source's number of samples, and of the images and captions of some, evenly spread.

    A stream is known by its shards' names, sizes and counts: to look at its samples is to fetch them.
    """
    if isinstance(source, StreamSource):
        return source.content
    parts = source.parts if isinstance(source, Concatenation) else []
    if any(isinstance(part.source, StreamSource) for part in parts):
        contents = [(content_hash(part.source), part.weight) for part in parts]
        return hashlib.sha256(repr(contents).encode()).hexdigest()[:16]
    found = hashlib.sha256(str(len(source)).encode())
    looked_at = min(LOOKED_AT, len(source))
    for number in range(looked_at):
        sample = source[number * len(source) // looked_at]
        captions = [caption.encode(errors="replace") for caption in sample.captions]
        for content in (sample.image or b"", *captions):
            found.update(hashlib.sha256(content).digest())
    return found.hexdigest()[:16]
