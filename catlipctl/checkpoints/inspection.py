"""What is in a checkpoint, for people: the tower, its head, where it came from, its files."""

from pathlib import Path
from typing import Any

from catlipctl import models
from catlipctl.checkpoints import manifest
from catlipctl.checkpoints.loading import load
from catlipctl.results import Result

LABELS_SHOWN = 10


class Inspection(Result):
    """A checkpoint's summary. parameters: of tower and head. files: bytes by name; empty behind a door."""

    path: str | None
    architecture: str
    parameters: int
    head_parameters: int
    features: int
    image_size: int
    classes: int
    labels: list[str]
    vocabulary: str | None
    about: dict[str, Any]
    resumable: bool
    files: dict[str, int]


def inspect(spec: str | Path) -> Inspection:
    """Load a checkpoint (so what is read of it is whole) and sum it up. Raises what `load` raises."""
    checkpoint = load(spec)
    model: Any = checkpoint.model
    classifier = models.head(model)
    files = manifest.read(checkpoint.path).files if checkpoint.path else {}
    names = checkpoint.label_names or []
    vocabulary = checkpoint.vocabulary
    return Inspection(
        path=str(checkpoint.path) if checkpoint.path else None,
        architecture=model.pretrained_cfg["architecture"],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        head_parameters=sum(parameter.numel() for parameter in classifier.parameters()),
        features=classifier.in_features,
        image_size=models.preprocessing(model).size,
        classes=classifier.out_features,
        labels=[checkpoint.label_descriptions.get(name, name) for name in names[:LABELS_SHOWN]],
        vocabulary=None
        if vocabulary is None
        else f"{len(vocabulary):,} keys by {vocabulary.extractor} {vocabulary.extractor_version} "
        f"from {vocabulary.source}",
        about=checkpoint.config,
        resumable=any(name.startswith("state/") for name in files),
        files={name: entry.bytes for name, entry in files.items()},
    )
