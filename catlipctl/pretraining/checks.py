"""What a run checks before its first step, by the functions that the run calls; all that fails is kept.

Only a vocabulary is not counted. Nothing is written but the index of the data, which goes to the cache.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel

from catlipctl import objectives
from catlipctl.data.sample import Source
from catlipctl.errors import CatlipctlError
from catlipctl.pretraining.assembly import VisitingOrder, head_bias, make_order, open_held_out, open_source
from catlipctl.pretraining.classes import given_vocabulary
from catlipctl.pretraining.pretrain import RULES, check_data_is_named, check_extractor
from catlipctl.progress import Progress
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import TrainingSettings
from catlipctl.training import launch, resuming, tracking
from catlipctl.training.directory import RunDirectory, would_take
from catlipctl.training.resuming import Rules, Start
from catlipctl.training.world import World
from catlipctl.vocabulary import Vocabulary

T = TypeVar("T")


class Refusal(BaseModel):
    """Why the run would not start here. elsewhere: another machine, or data named later, would mend it."""

    message: str
    hint: str
    exit_code: int
    elsewhere: bool

    def error(self) -> CatlipctlError:
        """What the run would raise."""
        error = CatlipctlError(self.message, self.hint)
        error.exit_code = self.exit_code
        return error


class Place(NamedTuple):
    """Where a run would go, and on what."""

    gpus: int | None = None
    processes: int | None = None
    out: Path | None = None
    name: str = "pretrain"
    resume: bool = False
    allow_changes: bool = False
    cache_dir: Path | None = None
    root: Path = Path("runs")


class Found(NamedTuple):
    """What a run would have: None where it is not to be had, or for classes that are to be counted."""

    devices: launch.Devices | None
    start: Start
    classes: Vocabulary | None
    order: VisitingOrder | None
    held_out: Source | None


class Checks:
    """What the run would check, one after the other; all that fails is kept."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []

    def of(self, check: Callable[[], T], *, elsewhere: bool = False) -> T | None:
        """What a check gives; None where it fails."""
        try:
            return check()
        except CatlipctlError as error:
            self.refusals.append(
                Refusal(
                    message=error.message, hint=error.hint, exit_code=error.exit_code, elsewhere=elsewhere
                )
            )
            return None

    def all(self, recipe: PretrainRecipe, place: Place, progress: Progress) -> "Found":
        """All checks of pre-training but those of the run's arithmetic."""
        devices, directory, start = self.of_a_run(recipe, RULES, recipe.model.image_size, place, progress)
        self.of(lambda: check_extractor(recipe))
        classes = self.of(lambda: given_vocabulary(recipe, directory))
        if classes is not None or not objectives.find(recipe.objective).needs_classes:
            self.of(lambda: head_bias(recipe, classes))
        if not recipe.data.sources:
            self.of(lambda: check_data_is_named(recipe), elsewhere=True)
            return Found(devices, start, classes, None, None)
        source = self.of(lambda: open_source(recipe, place.cache_dir, progress))
        order = None if source is None else self.of(lambda: make_order(recipe, source))
        held_out = self.of(lambda: open_held_out(recipe, place.cache_dir, progress))
        return Found(devices, start, classes, order, held_out)

    def of_a_run(
        self, recipe: TrainingSettings, rules: Rules, base: int, place: Place, progress: Progress
    ) -> tuple[launch.Devices | None, RunDirectory | None, Start]:
        """What a run of any task checks: devices, precision, trackers, shares, its directory and start.

        base: the tower's own size.
        """
        gpus, processes = place.gpus, place.processes
        # Both options together are a mistake everywhere.
        both = bool(gpus) and processes is not None
        devices = self.of(lambda: launch.devices(gpus, processes), elsewhere=not both)
        if devices is not None:
            world = World(cpu=devices.cpu)
            self.of(lambda: world.precision(recipe.precision), elsewhere=True)
        self.of(lambda: tracking.check(recipe.trackers), elsewhere=True)
        size = launch.world_size(gpus, processes)
        self.of(lambda: recipe.must_share_out(base, size))
        root = place.root
        directory = self.of(lambda: would_take(place.out, place.name, resume=place.resume, root=root))
        if directory is None or not place.resume:
            return devices, directory, Start()
        return devices, directory, self._start(recipe, rules, directory, place, progress)

    def _start(
        self,
        recipe: TrainingSettings,
        rules: Rules,
        directory: RunDirectory,
        place: Place,
        progress: Progress,
    ) -> Start:
        """Where a run that is resumed goes on."""
        if directory.recipe.exists() and directory.started:
            self.of(lambda: rules.changes(directory.recipe, recipe, allowed=place.allow_changes))
        return self.of(lambda: resuming.start(directory.path, {}, progress)) or Start()
