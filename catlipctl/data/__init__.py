"""Where pairs come from, the order in which they are visited, decoding, augmentation, batches; no labels."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catlipctl.data.batch import Batch
    from catlipctl.data.decode import UnreadableImage
    from catlipctl.data.images import read_images
    from catlipctl.data.inspect import Inspection
    from catlipctl.data.loader import Loader
    from catlipctl.data.order import Order
    from catlipctl.data.sample import Sample, Source
    from catlipctl.data.sources import open_source
    from catlipctl.data.transform import Augmentation, Preprocessing, eval_transform, train_transform

__all__ = [
    "Augmentation",
    "Batch",
    "Inspection",
    "Loader",
    "Order",
    "Preprocessing",
    "Sample",
    "Source",
    "UnreadableImage",
    "eval_transform",
    "open_source",
    "read_images",
    "train_transform",
]

# Loaded when first asked for: who only opens a source needs no torch. `decode` and `inspect` share their
# modules' names, so they are imported from there.
_MODULES = {
    "Augmentation": "transform",
    "Batch": "batch",
    "Inspection": "inspect",
    "Loader": "loader",
    "Order": "order",
    "Preprocessing": "transform",
    "Sample": "sample",
    "Source": "sample",
    "UnreadableImage": "decode",
    "eval_transform": "transform",
    "open_source": "sources",
    "read_images": "images",
    "train_transform": "transform",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
