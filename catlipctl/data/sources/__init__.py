"""Where image-text pairs come from: tars, folders, Parquet, listings, the Hub; opened by a SOURCE text."""

from catlipctl.data.sources.open import open_source

__all__ = ["open_source"]
