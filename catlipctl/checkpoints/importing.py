"""What others trained, written as a checkpoint of ours, with labels or a vocabulary where they are known."""

import json
from pathlib import Path

from catlipctl import vocabulary as vocabularies
from catlipctl.checkpoints import doors
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.directory import MULTI_LABEL, OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, read_manifest
from catlipctl.checkpoints.writing import write
from catlipctl.errors import CheckpointError, UsageError
from catlipctl.files import refuse_taken
from catlipctl.results import Result
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.exchange import imported


class Imported(Result):
    """A checkpoint of another's.

    origin: its spelling. keys: tensors of its file that became the tower's, None where the library that wrote
    it read it. ignored: those that did not, and why. transfer_init: whether it is known what the rows of its
    head mean. remarks: what a user should know.
    """

    checkpoint: str
    origin: str
    architecture: str
    parameters: int
    classes: int
    image_size: int
    vocabulary: str | None
    text_tower: bool
    keys: int | None
    ignored: list[str]
    transfer_init: bool
    remarks: list[str]
    files: dict[str, int]


def import_checkpoint(spec: str, out: Path, vocabulary: Path | None = None) -> Imported:
    """Read what `spec` names by a door, and write it as the checkpoint `out`, which may not exist.

    vocabulary: what the classes of its head mean, in their order: a `vocabulary.json`, or the pickle that
    CatLIP released, of which as many rows are taken as there are classes. No code of it is run.
    Raises UsageError for a name without a door; DataError for a vocabulary that is damaged, CheckpointError
    for one of another size, and what the door raises.
    """
    refuse_taken(out)
    opened = doors.door(spec)
    if opened is None:
        raise UsageError(
            f"{spec} does not say what wrote it",
            f"begin with {', '.join(doors.DOORS)}: corenet:FILE.pt for what CatLIP released",
        )
    checkpoint = opened(True)
    tower = checkpoint.tower
    meant = None if vocabulary is None else _vocabulary(vocabulary, checkpoint)
    both = checkpoint.both_towers
    path = write(
        out,
        tower=tower,
        config={"kind": "import", "from": checkpoint.name, **checkpoint.config},
        problem_type=checkpoint.problem_type if meant is None else MULTI_LABEL,
        vocabulary=meant,
        label_names=checkpoint.label_names if meant is None else None,
        label_descriptions=None if meant else checkpoint.label_descriptions or None,
        files={}
        if both is None
        else {OPEN_CLIP_CONFIG: json.dumps(both.config.model_dump(exclude_none=True))},
        tensors={} if both is None else {OPEN_CLIP_WEIGHTS: both.tensors()},
    )
    mapped = meant is not None or checkpoint.synsets is not None
    return Imported(
        checkpoint=str(path),
        origin=checkpoint.name,
        architecture=tower.name,
        parameters=sum(parameter.numel() for parameter in tower.module.parameters()),
        classes=tower.num_classes,
        image_size=tower.preprocessing.size,
        vocabulary=None if vocabulary is None else str(vocabulary),
        text_tower=both is not None,
        keys=checkpoint.config.get("keys"),
        ignored=checkpoint.config.get("ignored", []),
        transfer_init=mapped,
        remarks=[] if mapped else [_unmapped(checkpoint)],
        files={name: entry.bytes for name, entry in read_manifest(path).files.items()},
    )


def _vocabulary(path: Path, checkpoint: Checkpoint) -> Vocabulary:
    classes = checkpoint.tower.num_classes
    if not classes:
        raise CheckpointError(f"{checkpoint.name} has no head for a vocabulary", "leave --vocab out")
    found = vocabularies.load(path) if path.suffix == ".json" else imported(path, max_size=classes)
    if len(found) != classes:
        raise CheckpointError(
            f"the head of {checkpoint.name} has {classes:,} classes, and {path} {len(found):,} keys",
            "name the vocabulary that it was trained with",
        )
    return found


def _unmapped(checkpoint: Checkpoint) -> str:
    if not checkpoint.tower.num_classes:
        return "Random Init only: it has no head, so there are no rows for Transfer Init"
    return (
        "Random Init only: nothing says which synsets the rows of its head stand for. "
        "--vocab names the vocabulary of a head that CatLIP trained"
    )
