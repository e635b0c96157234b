"""`pretrain`: from a recipe to a run's directory with its checkpoints."""

from pathlib import Path
from typing import Any

import torch

from catlipctl import checkpoints, data, files, labels, models, objectives, vocabulary
from catlipctl.data.loader import Loader
from catlipctl.data.order import Order
from catlipctl.data.sample import Source
from catlipctl.data.transform import train_transform
from catlipctl.errors import MachineError, UsageError
from catlipctl.progress import SILENT, Progress
from catlipctl.recipe import dump
from catlipctl.training import average, metrics, optimiser, resuming, saving
from catlipctl.training.loop import Tools, train
from catlipctl.training.plan import Plan, parameters, plan
from catlipctl.training.recipe import PretrainRecipe
from catlipctl.training.report import Report
from catlipctl.training.results import PretrainResult
from catlipctl.training.run_directory import RunDirectory, acquire
from catlipctl.training.saving import TrainingState
from catlipctl.training.signals import Signals
from catlipctl.training.world import World
from catlipctl.vocabulary import Vocabulary


def pretrain(
    recipe: PretrainRecipe,
    *,
    out: Path | None = None,
    name: str = "pretrain",
    resume: bool = False,
    cpu: bool = False,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> PretrainResult:
    """Train by the recipe into `out` (default: a new `runs/NAME`), alone or as one of several processes.

    `resume` goes on with the run in `out`, starts it where there is none, and returns at once where it is
    complete.
    Raises UsageError (directory in use or not empty, recipe changed on resume), DataError (data changed on
    resume), NonFiniteLoss, OutOfMemory, and Stopped after a save at SIGINT, SIGTERM or SIGUSR1.
    """
    world = World(cpu=cpu)
    progress = progress if world.is_main else SILENT
    held: list[RunDirectory] = []

    def take_directory() -> Path:
        held.append(acquire(out, name, resume=resume))
        return held[0].path

    try:
        with Signals() as signals:
            run = RunDirectory(world.on_main(take_directory))
            with run.recording_exit(world.rank):
                result = _Run(recipe, run, world, signals, cache_dir, progress).result(resume=resume)
                world.close()
        return result
    finally:
        for directory in held:
            directory.release()


class _Run:
    """One call of `pretrain`, in the order in which its methods stand."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        run: RunDirectory,
        world: World,
        signals: Signals,
        cache_dir: Path | None,
        progress: Progress,
    ) -> None:
        self.recipe, self.run, self.world, self.signals = recipe, run, world, signals
        self.cache_dir, self.progress = cache_dir, progress

    def result(self, *, resume: bool) -> PretrainResult:
        self.world.on_main(lambda: self.settle_recipe(resume=resume))
        self.check_model()
        given = self.world.on_main(self.given_vocabulary)
        source = self.open_source()
        agreed = plan(self.recipe, self.world.size, len(source))
        for warning in agreed.warnings:
            self.progress.warn(warning)
        words = self.open_vocabulary(given, source)
        state = self.fresh_state(words, agreed)
        checkpoint = self.world.on_main(lambda: checkpoints.latest(self.run.path)) if resume else None
        circumstances = self.world.on_main(lambda: resuming.circumstances(source, agreed))
        if checkpoint is not None:
            self.go_on_from(checkpoint, state, circumstances)
        self.world.on_main(lambda: metrics.truncate(self.run.metrics, state.step))
        steps = agreed.steps
        assert steps is not None, "the source is open, so its epochs have a length"
        if state.step >= steps:
            self.progress.note(f"{self.run.path} is complete: {steps:,} steps")
        else:
            with self.signals.deferred():
                self.train(state, source, words, agreed, steps, circumstances)
        return self.world.on_main(lambda: self.summary(source, words, state))

    def settle_recipe(self, *, resume: bool) -> None:
        """Write `recipe.yaml`, or on resuming compare with the one there."""
        if resume and self.run.recipe.exists() and self.run.started:
            resuming.refuse_changes(self.run.recipe, self.recipe)
        self.progress.note(f"run: {self.run.path}")
        files.write_text(self.run.recipe, dump(self.recipe))

    def check_model(self) -> None:
        """Find what the recipe's schema cannot, before data is opened, which may take hours."""
        parameters(self.recipe, classes=2)
        if self.recipe.vocabulary.extractor:
            # Asked for what it needs of this machine.
            _ = labels.extractor(self.recipe.vocabulary.extractor).version
        precision(self.recipe, self.world.device)

    def given_vocabulary(self) -> Vocabulary | None:
        """The recipe's file, unless an earlier start of the run has taken it over or none is given."""
        path = self.recipe.vocabulary.path
        if path is None or self.run.vocabulary.exists():
            return None
        given, extractor = vocabulary.load(Path(path)), self.recipe.vocabulary.extractor
        if extractor not in (None, given.extractor):
            raise UsageError(
                f"{path} was counted with {given.extractor}, and vocabulary.extractor is {extractor}",
                "leave out one of them: the vocabulary's extractor labels the captions",
            )
        return given

    def open_source(self) -> Source:
        settings = self.recipe.data
        if not settings.sources:
            raise UsageError("the recipe names no data", "add --data SOURCE")
        return self.world.main_first(
            lambda: data.open_source(
                settings.sources,
                image_key=settings.image_key,
                caption_keys=settings.caption_keys,
                strict=settings.strict,
                cache_dir=self.cache_dir,
                progress=self.progress,
            )
        )

    def open_vocabulary(self, given: Vocabulary | None, source: Source) -> Vocabulary:
        """The run's vocabulary: from an earlier start of the run, the one given, or counted now."""
        settings = self.recipe.vocabulary

        def settle() -> None:
            if self.run.vocabulary.exists():
                return
            found = given or vocabulary.build(
                source,
                extractor=settings.extractor or "corenet",
                threshold=settings.threshold,
                max_size=settings.max_size,
                count=settings.count,
                progress=self.progress,
            )
            found.save(self.run.vocabulary)
            self.progress.note(f"vocabulary: {len(found):,} classes")

        self.world.on_main(settle)
        return vocabulary.load(self.run.vocabulary)

    def fresh_state(self, words: Vocabulary, agreed: Plan) -> TrainingState:
        torch.manual_seed(self.recipe.seed)
        model = models.create(self.recipe.model, len(words))
        objective = objectives.create(self.recipe.objective, model).to(self.world.device)
        momentum = agreed.ema_momentum
        return TrainingState(
            objective,
            optimiser.create(self.recipe.optimiser, objective),
            average.create(objective.model, momentum) if momentum is not None else None,
        )

    def go_on_from(self, checkpoint: Path, state: TrainingState, circumstances: dict[str, Any]) -> None:
        before = resuming.restore(checkpoint, state)
        for warning in resuming.differences(before, circumstances, state.objective):
            self.progress.warn(warning)
        self.progress.note(f"resuming from {checkpoint}, step {state.step:,}")

    def train(
        self,
        state: TrainingState,
        source: Source,
        words: Vocabulary,
        agreed: Plan,
        steps: int,
        circumstances: dict[str, Any],
    ) -> None:
        recipe, world = self.recipe, self.world
        preprocessing = models.preprocessing(state.objective.model)
        loader = Loader(
            source,
            Order(len(source), recipe.seed),
            train_transform(preprocessing, recipe.data.augmentation, recipe.seed),
            vocabulary.Encoder(words),
            global_batch=agreed.global_batch,
            rank=world.rank,
            world=world.size,
            workers=recipe.data.workers,
            start=state.step * agreed.global_batch,
            stop=steps * agreed.global_batch,
            with_captions=state.objective.needs_captions,
            pin=world.device.type == "cuda",
        )
        remaining = (steps - state.step) * agreed.global_batch
        with self.progress.task("pretrain", remaining, "images") as task:
            report = Report(
                self.run.metrics, task, world, agreed, every=recipe.log_every, source_size=len(source)
            )

            def save(state: TrainingState) -> None:
                report.settle(state)
                world.on_main(lambda: saving.save(self.run.path, state, recipe, words, circumstances))

            tools = Tools(recipe, agreed, world, self.signals, report, precision(recipe, world.device), save)
            train(state, loader, steps, tools)

    def summary(self, source: Source, words: Vocabulary, state: TrainingState) -> PretrainResult:
        losses = [row["loss"] for row in metrics.read(self.run.metrics)]
        few = max(1, len(losses) // 20)
        seconds = state.totals["seconds"]
        samples = state.step * self.recipe.global_batch_size
        return PretrainResult(
            inputs={"data": source.name},
            run=str(self.run.path),
            checkpoint=str(checkpoints.latest(self.run.path)),
            steps=state.step,
            samples=samples,
            seconds=round(seconds, 3),
            images_per_second=round(samples / max(seconds, 1e-9), 2),
            first_loss=sum(losses[:few]) / few,
            final_loss=sum(losses[-few:]) / few,
            vocabulary_size=len(words),
            faults=dict(source.faults),
            replaced=int(state.totals["replaced"]),
            unlabelled_share=state.totals["unlabelled"] / samples,
        )


def precision(recipe: PretrainRecipe, device: torch.device) -> torch.dtype:
    """The type of the forward pass; MachineError where bfloat16 is asked for and the GPU has none."""
    has = device.type == "cpu" or (
        device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    if recipe.precision == "bfloat16" and not has:
        raise MachineError(f"{device} computes no bfloat16", "--set precision=float32")
    wanted = recipe.precision == "bfloat16" or (recipe.precision == "auto" and has and device.type == "cuda")
    return torch.bfloat16 if wanted else torch.float32
