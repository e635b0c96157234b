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
    from catlipctl.data.transform import EvalTransform, Preprocessing, TrainTransform, Transform

__all__ = [
    "Batch",
    "EvalTransform",
    "Inspection",
    "Loader",
    "Order",
    "Preprocessing",
    "Sample",
    "Source",
    "TrainTransform",
    "Transform",
    "UnreadableImage",
    "open_source",
    "read_images",
]

# Loaded when first asked for: who only opens a source needs no torch. `decode` and `inspect` share their
# modules' names, so they are imported from there.
_MODULES = {
    "Batch": "batch",
    "EvalTransform": "transform",
    "Inspection": "inspect",
    "Loader": "loader",
    "Order": "order",
    "Preprocessing": "transform",
    "Sample": "sample",
    "Source": "sample",
    "TrainTransform": "transform",
    "Transform": "transform",
    "UnreadableImage": "decode",
    "open_source": "sources",
    "read_images": "images",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
