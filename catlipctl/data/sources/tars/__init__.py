"""Webdataset tars: an index of where each sample lies, and samples and captions read by it."""

from catlipctl.data.sources.tars.columns import Key, fields
from catlipctl.data.sources.tars.index import IMAGE_EXTENSIONS
from catlipctl.data.sources.tars.source import TarCaptions, TarSource

__all__ = ["IMAGE_EXTENSIONS", "Key", "TarCaptions", "TarSource", "fields"]
