"""What a checkpoint sees in images: its most probable labels or synsets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from catlipctl.checkpoints import Checkpoint
from catlipctl.data import EvalTransform, UnreadableImage
from catlipctl.data.workers import ahead, shared_bytes
from catlipctl.errors import DataError
from catlipctl.labels import wordnet
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result, cores
from catlipctl.transfer.prediction.choice import Choice
from catlipctl.transfer.prediction.inputs import Input, Inputs, open_inputs

BATCH = 64
MANY = 1000
"""Images from which on worker processes are worth their start."""
MOST_WORKERS = 8


class PredictedLabel(BaseModel):
    """One label with its probability.

    description: in words, where the label is a key: the synset's name, `white.n.01`, where the word of a
    vocabulary's key has several senses.
    """

    label: str
    description: str
    probability: float


class ImagePrediction(BaseModel):
    """The most probable labels of one image, the first one first; or its fault.

    image: its path, or its key in a SOURCE. name: as short as tells it apart: the path from the folder that
    was named. source: the SOURCE, '' of a file. fault: what is wrong with it, with its path.
    """

    image: str
    name: str = ""
    source: str = ""
    labels: list[PredictedLabel] = []
    fault: str | None = None


class Predictions(Result):
    """probabilities: `softmax` (of one label against the others) or `sigmoid` (of each label by itself).

    skipped: files in folders and patterns that are no images by their names, counted by suffix.
    """

    probabilities: str
    images: list[ImagePrediction]
    unreadable: int
    skipped: dict[str, int]


def predict(
    checkpoint: Checkpoint,
    images: Sequence[str | Path] | Inputs,
    top: int | None = None,
    *,
    threshold: float | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Predictions:
    """Labels of all images (or what `open_inputs` makes of paths), kept in memory.

    top, threshold: as `Choice` has them. What cannot be read has its fault named. Raises DataError where
    nothing can be read.
    """
    inputs = images if isinstance(images, Inputs) else open_inputs(images, progress=progress)
    results: list[ImagePrediction] = []
    with progress.task("predicting", len(inputs), "images") as task:
        for answered in answers(checkpoint, inputs, Choice(top, threshold), workers=workers):
            results += answered
            task.advance(len(answered))
    faults = [result.fault for result in results if result.fault is not None]
    if len(faults) == len(results):
        raise nothing_readable(faults, len(faults))
    return Predictions(
        probabilities=checkpoint.activation,
        images=results,
        unreadable=len(faults),
        skipped=dict(inputs.skipped.most_common()),
    )


def nothing_readable(faults: Sequence[str], count: int) -> DataError:
    """The error of a prediction that answers nothing, with the first faults of `count`."""
    more = f" and {count - 3} more" if count > 3 else ""
    return DataError(f"no image could be read: {'; '.join(faults[:3])}{more}", "check the paths")


def answers(
    checkpoint: Checkpoint, inputs: Inputs, choice: Choice, *, first: int = 0, workers: int | None = None
) -> Iterator[list[ImagePrediction]]:
    """What is told of the images from number `first` on, `BATCH` at a time and no more in memory.

    On the GPU if there is one. workers: processes that read and decode; left out, none for fewer than `MANY`
    images, else one a core, at most `MOST_WORKERS`.
    """
    if workers is None:
        workers = min(cores(), MOST_WORKERS) if len(inputs) - first >= MANY else 0
    tower = checkpoint.tower
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = tower.module.eval().to(device)
    names = checkpoint.label_names or [str(i) for i in range(tower.num_classes)]
    label = lru_cache(maxsize=len(names))(lambda i: (names[i], _described(checkpoint, names[i])))
    starts = range(first, len(inputs), BATCH)
    chunks = (range(start, min(start + BATCH, len(inputs))) for start in starts)
    make = _Chunk(inputs, EvalTransform(tower.preprocessing))
    for pixels, read in ahead(make, chunks, workers=workers):
        with torch.inference_mode():
            seen = tower.preprocessing.prepared(pixels.to(device)) if len(pixels) else None
            told = iter([] if seen is None else choice.chosen(checkpoint, model(seen)))
        yield [
            ImagePrediction(
                image=one.image,
                name=one.name,
                source=one.source,
                fault=one.fault,
                labels=[]
                if one.fault is not None
                else [
                    PredictedLabel(label=label(i)[0], description=label(i)[1], probability=value)
                    for i, value in next(told)
                ],
            )
            for one in read
        ]


@dataclass(frozen=True)
class _Chunk:
    inputs: Inputs
    transform: EvalTransform

    def __call__(self, numbers: Sequence[int]) -> tuple[Tensor, list[Input]]:
        """uint8 `[B, 3, S, S]` of those that can be read, and all without their bytes."""
        size = self.transform.preprocessing.size
        pixels = shared_bytes(len(numbers), size, size, 3)
        read: list[Input] = []
        used = 0
        for number in numbers:
            one = self.inputs[number]
            fault = one.fault
            if one.content is not None:
                try:
                    pixels[used] = torch.from_numpy(np.asarray(self.transform(one.content, 0, size)))
                    used += 1
                except UnreadableImage as error:
                    fault = f"{one.image}: {error.message}"
            read.append(one._replace(content=None, fault=fault))
        return pixels[:used].permute(0, 3, 1, 2), read


def _described(checkpoint: Checkpoint, name: str) -> str:
    description = checkpoint.label_descriptions.get(name, "")
    graph = wordnet.nouns()
    ambiguous = checkpoint.vocabulary is not None and name in graph and len(graph.synsets(description)) > 1
    return graph.name(name) if ambiguous else description
