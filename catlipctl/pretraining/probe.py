"""Three real steps of a run on this machine, and what they say of the rest."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from catlipctl import labels, objectives
from catlipctl.pretraining.pretrain import pretrain
from catlipctl.results import high_water
from catlipctl.settings.pretraining import PretrainRecipe, VocabularySettings
from catlipctl.settings.training import Length
from catlipctl.training.report import read_metrics
from catlipctl.vocabulary import Vocabulary

STEPS = 3


class Probe(BaseModel):
    """What one process's share of a step took: at the model's own size, the mean of all steps but the first.

    The first step starts workers and fills caches. waiting: share of the time in which it waited for data.
    peak_memory_bytes: of the whole process on a CPU, of all tensors on a GPU. stand_ins: made-up classes of
    the head, where the run is yet to count its vocabulary; None where it is known, or not needed.
    """

    steps: int = STEPS
    images: int
    milliseconds: float
    images_per_second: float
    waiting: float
    peak_memory_bytes: int
    stand_ins: int | None = None


def probe(
    recipe: PretrainRecipe,
    images: int,
    classes: Vocabulary | int,
    *,
    cpu: bool,
    cache_dir: Path | None = None,
) -> Probe:
    """Train for three steps of `images` in this process, by the run's own path, in a folder that is removed.

    classes: the run's vocabulary, or of how many classes one is made up: to count it may take hours.
    Its checkpoint is written there too, so the folder for temporary files must have room for one. Raises what
    `pretrain` raises.
    """
    needed = objectives.find(recipe.objective).needs_classes
    stand_ins = classes if needed and isinstance(classes, int) else None
    changes = {"length": Length(steps=STEPS), "global_batch_size": images, "sizes": None}
    rest: dict[str, Any] = {"log_every": 1, "save_every": None, "save_minutes": None}
    rest |= {"validation": None, "trackers": []}
    with tempfile.TemporaryDirectory(prefix="catlipctl-probe-") as folder:
        run = Path(folder) / "run"
        if needed:
            known = _made_up(classes, recipe) if isinstance(classes, int) else classes
            known.save(Path(folder) / "vocabulary.json")
            rest["vocabulary"] = VocabularySettings(path=str(Path(folder) / "vocabulary.json"))
        short = recipe.model_copy(update={**changes, **rest})
        pretrain(short, out=run, cpu=cpu, cache_dir=cache_dir)
        rows = read_metrics(run / "metrics.jsonl")
    seconds = (rows[-1]["seconds"] - rows[0]["seconds"]) / (STEPS - 1)
    return Probe(
        images=images,
        milliseconds=round(1000 * seconds, 3),
        images_per_second=round(images / max(seconds, 1e-9), 2),
        waiting=round(sum(row["data_wait"] for row in rows[1:]) / (STEPS - 1), 4),
        peak_memory_bytes=high_water() if cpu else torch.cuda.max_memory_allocated(),
        stand_ins=stand_ins,
    )


def _made_up(size: int, recipe: PretrainRecipe) -> Vocabulary:
    """A vocabulary of so many classes, of which no caption has any."""
    extractor = labels.extractor(recipe.vocabulary.extractor or "corenet")
    return Vocabulary(
        keys=tuple(f"class {number}" for number in range(size)),
        counts=(0,) * size,
        extractor=extractor.name,
        extractor_version=extractor.version,
        source="made up",
        captions=0,
        captions_without_label=None,
        counted="occurrences",
        threshold=0,
    )
