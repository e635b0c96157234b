"""Pre-training of vision models on image-text pairs by classification, and all that comes before and after."""

__version__ = "0.1.0"
