"""What a checkpoint sees in images: its most probable labels or synsets."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from catlipctl.checkpoints import Checkpoint
from catlipctl.data import EvalTransform, UnreadableImage
from catlipctl.data.sources.faults import MAX_IMAGE_BYTES
from catlipctl.data.sources.image_files import named_images, shown
from catlipctl.errors import DataError
from catlipctl.files import FileKind
from catlipctl.labels import wordnet
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result

BATCH = 64
_IMAGE = FileKind("an image", MAX_IMAGE_BYTES, DataError, "check the paths")


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

    image: its path. name: as short as tells it apart: the path from the folder that was named. fault: what is
    wrong with it, with its path.
    """

    image: str
    name: str
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


@torch.inference_mode()
def predict(
    checkpoint: Checkpoint, paths: Sequence[str | Path], top: int = 5, *, progress: Progress = SILENT
) -> Predictions:
    """The `top` labels of each image at `paths`, as `named_images` finds them.

    Probabilities are as the checkpoint's `problem_type` says: a softmax over labels that exclude each other,
    or a sigmoid a label, where a picture may show several. What cannot be read has its
    fault named. Raises DataError where nothing can be read.
    """
    files, skipped = named_images(paths)
    activation = checkpoint.activation
    tower = checkpoint.tower
    model, preprocessing = tower.module.eval(), tower.preprocessing
    transform = EvalTransform(preprocessing)
    names = checkpoint.label_names or [str(i) for i in range(tower.num_classes)]
    found: dict[Path, ImagePrediction] = {}

    def answer(images: list[Tensor], sources: list[Path]) -> None:
        logits = model(preprocessing.prepared(torch.stack(images).permute(0, 3, 1, 2)))
        probabilities = logits.softmax(1) if activation == "softmax" else logits.sigmoid()
        values, classes = probabilities.topk(min(top, len(names)), dim=1)
        for source, row, ids in zip(sources, values.tolist(), classes.tolist(), strict=True):
            labels = [
                PredictedLabel(
                    label=names[i], description=_described(checkpoint, names[i]), probability=value
                )
                for value, i in zip(row, ids, strict=True)
            ]
            found[source] = ImagePrediction(image=shown(source), name=files[source], labels=labels)

    images: list[Tensor] = []
    sources: list[Path] = []
    with progress.task("predicting", len(files), "images") as task:
        for file in files:
            try:
                pixels = transform(_IMAGE.read_bytes(file), 0, preprocessing.size)
                images.append(torch.from_numpy(pixels))
                sources.append(file)
            except DataError as error:
                of_content = isinstance(error, UnreadableImage)
                fault = f"{shown(file)}: {error.message}" if of_content else error.message
                found[file] = ImagePrediction(image=shown(file), name=files[file], fault=fault)
            if len(images) == BATCH:
                answer(images, sources)
                images, sources = [], []
            task.advance()
        if images:
            answer(images, sources)
    results = [found[file] for file in files]
    faults = [result.fault for result in results if result.fault is not None]
    if len(faults) == len(results):
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise DataError(f"no image could be read: {'; '.join(faults[:3])}{more}", "check the paths")
    return Predictions(
        probabilities=activation,
        images=results,
        unreadable=len(faults),
        skipped=dict(skipped.most_common()),
    )


def _described(checkpoint: Checkpoint, name: str) -> str:
    description = checkpoint.label_descriptions.get(name, "")
    graph = wordnet.nouns()
    ambiguous = checkpoint.vocabulary is not None and name in graph and len(graph.synsets(description)) > 1
    return graph.name(name) if ambiguous else description
