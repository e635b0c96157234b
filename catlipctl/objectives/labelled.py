"""A batch's labels as losses are told them, and what is told of them."""

from torch import Tensor

from catlipctl.data.batch import Batch
from catlipctl.objectives.idf import InverseDocumentFrequency
from catlipctl.objectives.losses import Pairs


def labelled(batch: Batch, idf: InverseDocumentFrequency | None) -> tuple[Pairs, dict[str, Tensor]]:
    """The pairs, weighed by `idf` where there is one; labels an image, and the share of images with none."""
    classes, counts = batch.targets["classes"], batch.targets["counts"]
    weights = None if idf is None else idf.weights()
    pairs = Pairs.of_counts(classes, counts, weights, batch.targets.get("weights"))
    return pairs, {"labels": counts.float().mean(), "unlabelled": (counts == 0).float().mean()}
