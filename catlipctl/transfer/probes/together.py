"""Several probes of one tower from one extraction: what each says, and what all of it cost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source
from catlipctl.errors import CheckpointError, DataError
from catlipctl.labels.targets import LabelSet, Mapping
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result
from catlipctl.training.world import World
from catlipctl.transfer.features import Extraction
from catlipctl.transfer.initialise import Rows
from catlipctl.transfer.probes.frozen import Frozen, frozen
from catlipctl.transfer.probes.knn import KnnResult, knn_of
from catlipctl.transfer.probes.linear import MultiLabelProbeResult, ProbeResult, linear_probe_of
from catlipctl.transfer.probes.zero_shot import ZeroShotResult, zero_shot_of

Evaluated = ProbeResult | MultiLabelProbeResult | KnnResult | ZeroShotResult
PROBES: dict[str, Callable[..., Evaluated]] = {
    "lp": linear_probe_of,
    "knn": knn_of,
    "zero-shot": zero_shot_of,
}
"""What each is called -> the probe of a `Frozen`; it writes its result to the folder `out`."""
SEVERAL_LABELS = {"lp"}
"""The probes of images that may have several labels."""


class Evaluations(Result):
    """The results of several probes, by name, and the one extraction that all share.

    folders: where each lies, with result.json. left_out: probes that this tower does not allow -> why.
    """

    evaluations: dict[str, Evaluated]
    folders: dict[str, str]
    left_out: dict[str, str]
    extraction: Extraction
    solver_seconds: float


def evaluate(
    checkpoint: Checkpoint,
    train: Source,
    test: Source | None,
    *,
    folders: dict[str, Path],
    options: dict[str, Any] | None = None,
    target: LabelSet | None = None,
    mapping: Mapping = "heads",
    rows: Rows = "calibrated",
    random_backbone: bool = False,
    seed: int = 0,
    multi_label: bool | None = None,
    label_base: int | None = None,
    cache: Path | None = None,
    cpu: bool = False,
    workers: int = 0,
    progress: Progress = SILENT,
) -> Evaluations:
    """Extract features once and run the probes that `folders` names, each into its folder.

    options: of the one probe, where it is one. Where several are asked for, one that the tower does not allow
    (zero-shot without rows) is left out, and the reason is told. Processes and other arguments are those of
    `linear_probe`.
    """
    world = World(cpu=cpu)
    found = frozen(
        checkpoint,
        train,
        test,
        world=world,
        target=target,
        mapping=mapping,
        rows=rows,
        random_backbone=random_backbone,
        seed=seed,
        multi_label=multi_label,
        label_base=label_base,
        cache=cache,
        workers=workers,
        progress=progress,
    )
    result = world.on_main(lambda: _probed(found, folders, options or {}, progress))
    world.close()
    return result


def _probed(
    found: Frozen, folders: dict[str, Path], options: dict[str, Any], progress: Progress
) -> Evaluations:
    results: dict[str, Evaluated] = {}
    left_out: dict[str, str] = {}
    for name, folder in folders.items():
        progress.note(f"{name} ...")
        try:
            if name not in SEVERAL_LABELS:
                found.refuse_several_labels(name)
            results[name] = PROBES[name](found, out=folder, progress=progress, **options)
        except (CheckpointError, DataError) as error:
            left_out[name] = error.message
            if len(left_out) == len(folders):
                raise
    evaluations = Evaluations(
        evaluations=results,
        folders={name: str(folders[name]) for name in results},
        left_out=left_out,
        extraction=found.sets.extraction,
        solver_seconds=round(sum(result.solver_seconds for result in results.values()), 3),
    )
    evaluations.inputs = found.inputs
    return evaluations
