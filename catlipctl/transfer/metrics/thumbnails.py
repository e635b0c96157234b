"""Small pictures of mistakes, kept beside an evaluation's result: whoever reads a report has not the data."""

import base64
import io
import json
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from catlipctl.data import Source
from catlipctl.data.decode import UnreadableImage, decode
from catlipctl.transfer.metrics.confusion import confusion, most_confused

SIDE = 96
"""Pixels of the longer side."""
PAIRS, EACH = 6, 2


class Mistake(NamedTuple):
    """One test image that was taken for another class: its place among them, and what was said."""

    place: int
    truth: int
    predicted: int
    probability: float


def typical_mistakes(logits: Tensor, labels: Tensor) -> list[Mistake]:
    """The `EACH` surest mistakes of each of the `PAIRS` pairs of classes that are confused most.

    logits: `[N, K]`. labels: `[N]`.
    """
    best = logits.softmax(1).max(1)
    names = [str(i) for i in range(logits.shape[1])]
    found = []
    for pair in most_confused(confusion(logits, labels), names, PAIRS):
        truth, predicted = int(pair.truth), int(pair.taken_for)
        places = ((labels == truth) & (best.indices == predicted)).nonzero()[:, 0]
        surest = places[best.values[places].argsort(descending=True, stable=True)][:EACH]
        found += [Mistake(i, truth, predicted, float(best.values[i])) for i in surest.tolist()]
    return found


def thumbnails(
    mistakes: Sequence[Mistake], images: Source, samples: Sequence[str], classes: Sequence[str]
) -> str:
    """As JSON: a row a mistake, with the picture as a JPEG in base64. images: the test images in order."""
    rows = []
    for mistake in mistakes:
        content = images[mistake.place].image
        try:
            picture = decode(content or b"")
        except UnreadableImage:
            continue  # gone since it was answered
        rows.append(
            {
                "sample": samples[mistake.place],
                "truth": classes[mistake.truth],
                "predicted": classes[mistake.predicted],
                "probability": round(mistake.probability, 4),
                "jpeg": base64.b64encode(_small(picture)).decode(),
            }
        )
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _small(picture: Image.Image) -> bytes:
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return stream.getvalue()
