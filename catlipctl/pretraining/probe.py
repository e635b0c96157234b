"""Three real steps of a run on this machine, and what they say of the rest."""

import tempfile
from pathlib import Path

import torch
from pydantic import BaseModel

from catlipctl.pretraining.pretrain import pretrain
from catlipctl.results import high_water
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import Length
from catlipctl.training.report import read_metrics

STEPS = 3


class Probe(BaseModel):
    """What one process's share of a step took: at the model's own size, the mean of all steps but the first.

    The first step starts workers and fills caches. waiting: share of the time in which it waited for data.
    peak_memory_bytes: of the whole process on a CPU, of all tensors on a GPU.
    """

    steps: int = STEPS
    images: int
    milliseconds: float
    images_per_second: float
    waiting: float
    peak_memory_bytes: int


def probe(recipe: PretrainRecipe, images: int, *, cpu: bool, cache_dir: Path | None = None) -> Probe:
    """Train for three steps of `images` in this process, by the run's own path, in a folder that is removed.

    Its checkpoint is written there too, so the folder for temporary files must have room for one. Raises what
    `pretrain` raises.
    """
    changes = {"length": Length(steps=STEPS), "global_batch_size": images, "sizes": None}
    rest = {"log_every": 1, "save_every": None, "save_minutes": None}
    with tempfile.TemporaryDirectory(prefix="catlipctl-probe-") as folder:
        run = Path(folder) / "run"
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
    )
