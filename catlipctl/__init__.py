"""Pre-train vision models on image-text pairs by classification (CatLIP), and transfer them."""

__version__ = "0.1.0"
