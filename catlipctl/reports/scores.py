"""What a classifier said of each test image and each class, where an image may have several.

Read from the `scores.safetensors` that such an evaluation leaves beside `predictions.csv`, which names the
images in the same order: `scores`, float16, and `labels`, bool, `[N, K]` each.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from catlipctl.errors import DataError
from catlipctl.files import FileKind
from catlipctl.reports import predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "scores.safetensors"
KIND = FileKind("scores of images and classes", 2**29, DataError, "run the evaluation again")


class Scores(NamedTuple):
    """images: N names. scores: `[N, K]`, float16. labels: `[N, K]`, bool."""

    images: list[str]
    scores: "NDArray[np.float16]"
    labels: "NDArray[np.bool_]"


def read(path: Path) -> Scores:
    """The scores in a file; DataError where it is none, or is of other images than the predictions beside."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(KIND.read_bytes(path))
        scores, labels = found["scores"], found["labels"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise KIND.refused(path, str(error)) from error
    beside = path.with_name(predictions.FILE)
    images = [row["sample"] for row in predictions.KIND.read_table(beside, ["sample"])]
    if scores.ndim != 2 or scores.shape != labels.shape or len(scores) != len(images):
        raise KIND.refused(path, f"it has {scores.shape} scores, {labels.shape} labels, {len(images)} images")
    if scores.dtype != "float16" or labels.dtype != "bool" or (scores != scores).any() or not images:
        raise KIND.refused(path, "its scores are no numbers in float16, or its labels no yes or no")
    return Scores(images, scores, labels)
