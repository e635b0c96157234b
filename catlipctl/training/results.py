"""What `pretrain` returns: the run's result, or what it would cost."""

from typing import Any

from pydantic import BaseModel

from catlipctl.results import Result


class PretrainResult(Result):
    """A complete run. Losses are means over the first and the last twentieth of the logged steps."""

    run: str
    checkpoint: str
    steps: int
    samples: int
    seconds: float
    images_per_second: float
    first_loss: float
    final_loss: float
    vocabulary_size: int
    faults: dict[str, int]
    """What was passed over when the source was opened, by kind: damaged shards, images without caption."""
    replaced: int
    """How often an image could not be read, and the next one took its place."""
    unlabelled_share: float
    """Share of the images seen whose captions gave no label: trained on, as showing none of the classes."""


class Value(BaseModel):
    """One resolved value of a recipe and where it came from."""

    key: str
    value: Any
    origin: str


class DryRun(Result):
    """A recipe resolved, and what the run would cost; None where only the data could tell."""

    values: list[Value]
    steps: int | None
    images: int | None
    processes: int
    process_batch: int
    micro_batch: int
    accumulation: int
    vocabulary_size: int | None
    parameters: int
    """With the vocabulary's classes, or without any class where its size is unknown."""
    parameters_per_class: int
    checkpoint_bytes: int | None
    warnings: list[str]


class LaunchCommand(Result):
    """The command line that starts the same run under torchrun."""

    command: str
