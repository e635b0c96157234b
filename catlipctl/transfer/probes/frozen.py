"""What all probes of a tower start from: its features, extracted once, and what Transfer Init knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from catlipctl import files
from catlipctl.checkpoints import Checkpoint
from catlipctl.checkpoints.writing import save_tensors
from catlipctl.data import Source
from catlipctl.errors import DataError
from catlipctl.labels.targets import LabelSet, Mapping
from catlipctl.models import Tower
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.training.world import World
from catlipctl.transfer import features
from catlipctl.transfer.features import Extraction, PatchTower, ProbeSets, extract_sets
from catlipctl.transfer.initialise import Rows, TransferredHead, prior_head
from catlipctl.transfer.labelled import ALL, TrainSize, described, inputs
from catlipctl.transfer.metrics import Answers, ConfusedPair, restricted
from catlipctl.transfer.metrics.answers import RESULT
from catlipctl.transfer.probes.solver import Fit

HEAD = "head.safetensors"
"""A classifier alone, beside a result."""


class Probed(BaseModel):
    """Of which tower and data a probe is, and what it cost: the extraction, which several probes may share,
    and `solver_seconds` for all that it did with the features. confused: the pairs of classes that are
    confused most.
    """

    target: str
    mapping: Mapping = "heads"
    random_backbone: bool
    split: str
    unreadable: int
    unlabelled: int
    extraction: Extraction = Extraction()
    solver_seconds: float = 0.0
    confused: list[ConfusedPair] = []


@dataclass(frozen=True)
class Frozen:
    """A frozen tower's features of labelled images.

    tower: the one that made them, on the CPU: the checkpoint's, or the control, the same untrained. inputs,
    data: as results name them. mapping: how names meet the vocabulary. rows: how Transfer Init makes
    them. seed: decided split, subset and control.
    """

    checkpoint: Checkpoint
    tower: Tower
    sets: ProbeSets
    mapping: Mapping
    rows: Rows
    random_backbone: bool
    inputs: dict[str, str]
    data: dict[str, Any]
    seed: int

    @property
    def class_names(self) -> list[str]:
        """The classes in order."""
        return [label.name for label in self.sets.classes.labels]

    def fitted_by(self, protocol: str) -> str:
        """A fast probe's protocol with how rows are made, the same for every init."""
        return f"{protocol} of {self.rows} rows"

    def refuse_several_labels(self, name: str) -> None:
        """DataError where an image may have several; `name` is the probe that cannot have it."""
        if self.sets.classes.multi_label:
            raise DataError(
                f"{name} is for classes that exclude each other, and an image may have several here",
                "--exclusive says that they do; eval lp takes both",
            )

    def head(self, progress: Progress = SILENT) -> TransferredHead | None:
        """Transfer Init for the classes; None without rows that fit, and for a tower that learned nothing."""
        if self.random_backbone:
            return None
        classes = self.sets.classes
        return prior_head(
            self.checkpoint,
            classes,
            self.seed,
            mapping=self.mapping,
            rows=self.rows,
            progress=progress,
        )

    def probed(self, solver_seconds: float) -> dict[str, Any]:
        """The fields of `Probed`, with `inputs` and `data`."""
        return {
            "target": self.sets.classes.name,
            "mapping": self.mapping,
            "random_backbone": self.random_backbone,
            "split": self.sets.split,
            "unreadable": self.sets.unreadable,
            "unlabelled": self.sets.unlabelled,
            "extraction": self.sets.extraction,
            "solver_seconds": round(solver_seconds, 3),
            "inputs": self.inputs,
            "data": self.data,
        }


def frozen(
    checkpoint: Checkpoint,
    train: Source,
    test: Source | None,
    *,
    world: World,
    target: LabelSet | None = None,
    mapping: Mapping = "heads",
    rows: Rows = "calibrated",
    train_size: TrainSize = ALL,
    random_backbone: bool = False,
    patches_within: int | None = None,
    seed: int = 0,
    multi_label: bool | None = None,
    label_base: int | None = None,
    cache: Path | None = None,
    workers: int = 0,
    progress: Progress = SILENT,
) -> Frozen:
    """Extract the features of both splits, on the device of each process; all of `world` call.

    The first process has the features, the others none. patches_within: those of patches, and so many bytes
    of them at most. Arguments are those of `extract_sets`.
    """
    tower = features.untrained(checkpoint, seed) if random_backbone else checkpoint.tower
    if patches_within is not None:
        tower = PatchTower(tower)
    tower.module.to(world.device)
    sets = extract_sets(
        tower,
        train,
        test,
        target=target,
        train_size=train_size,
        seed=seed,
        reestimate=random_backbone,
        most_bytes=patches_within,
        multi_label=multi_label,
        label_base=label_base,
        cache=cache,
        world=world,
        workers=workers,
        progress=progress,
    )
    tower.module.cpu()
    return Frozen(
        checkpoint=checkpoint,
        tower=tower,
        sets=sets,
        mapping=mapping,
        rows=rows,
        random_backbone=random_backbone,
        inputs=inputs(checkpoint.name, train, test, target),
        data={"train": described(train), "test": described(test or train)},
        seed=seed,
    )


def answers(fit: Fit, sets: ProbeSets) -> Answers:
    """What a classifier says of the test images, among the classes that are scored."""
    return answers_of(fit.logits(sets.test.values), sets)


def answers_of(logits: Tensor, sets: ProbeSets) -> Answers:
    """The same of its logits `[N, K]`."""
    return Answers(restricted(logits, sets.scored), sets.test.labels, sets.test_samples, sets.test_images)


def write(
    out: Path,
    result: Measurement,
    answered: Answers,
    classes: Sequence[str],
    head: dict[str, Tensor] | None = None,
) -> None:
    """Make the folder `out` of a result and the answers; it may not exist. head: for `head.safetensors`."""
    files.refuse_taken(out)
    with files.replacing(out) as temporary:
        temporary.mkdir()
        result.write(temporary / RESULT)
        for name, text in answered.files(classes).items():
            files.write_text(temporary / name, text)
        if head is not None:
            save_tensors(head, temporary / HEAD)
