"""Streams: tars that are read whole, one after the other, from anywhere, through a cache on this machine."""

from catlipctl.data.sources.streams.ahead import Ahead, streams
from catlipctl.data.sources.streams.index import Indexed, index_source
from catlipctl.data.sources.streams.opening import Streaming, open_tars
from catlipctl.data.sources.streams.source import StreamSource

__all__ = ["Ahead", "Indexed", "StreamSource", "Streaming", "index_source", "open_tars", "streams"]
