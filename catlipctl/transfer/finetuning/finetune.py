"""Fine-tuning: a pre-trained tower with a target's classifier, trained whole on the engine."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catlipctl import checkpoints, training
from catlipctl import recipe as recipes
from catlipctl.checkpoints import Checkpoint
from catlipctl.checkpoints.writing import save_tensors
from catlipctl.data import Source
from catlipctl.data.batch import Shape
from catlipctl.data.loader import Loader
from catlipctl.data.order import Order
from catlipctl.data.sample import Selection
from catlipctl.data.transform import TrainTransform
from catlipctl.files import replacing, write_text
from catlipctl.labels.targets import LabelSet
from catlipctl.models import Tower, flops
from catlipctl.objectives import Objective
from catlipctl.progress import SILENT, Progress
from catlipctl.settings.finetuning import FIXED_ON_RESUME, FREE_ON_RESUME, FinetuneRecipe
from catlipctl.training import Learner, Rules, Run
from catlipctl.training.optimiser import layer_rates
from catlipctl.training.report import Row, RunState, first_and_final_loss, read_metrics
from catlipctl.training.steps import StepSchedule, planned
from catlipctl.training.utilisation import BACKWARD
from catlipctl.transfer.classifier import log_odds
from catlipctl.transfer.features import reestimate_batch_norm, untrained
from catlipctl.transfer.finetuning.answers import answers, figures, means
from catlipctl.transfer.finetuning.assembly import ClassEncoder, base_size, make_objective, make_tower
from catlipctl.transfer.finetuning.result import FinetuneResult, MultiLabelFinetuneResult, protocol
from catlipctl.transfer.initialise import TransferredHead, prior_head
from catlipctl.transfer.labelled import (
    LabelledSets,
    TrainSize,
    described,
    inputs,
    labelled_sets,
    subset,
    without_images,
)
from catlipctl.transfer.metrics import Answers, MultiLabelAnswers
from catlipctl.transfer.metrics.answers import RESULT

RULES = Rules(free=FREE_ON_RESUME, fixed=FIXED_ON_RESUME)
"""What may change while a run goes on, and what may not."""


def finetune(
    recipe: FinetuneRecipe,
    checkpoint: Checkpoint,
    train: Source,
    test: Source | None,
    *,
    target: LabelSet | None = None,
    out: Path | None = None,
    root: Path = Path("runs"),
    name: str = "ft",
    resume: bool = False,
    allow_changes: bool = False,
    cpu: bool = False,
    progress: Progress = SILENT,
) -> FinetuneResult | MultiLabelFinetuneResult:
    """Train a tower whole on `train`, evaluate it on `test`, in a run of its own: `out`, or a new ROOT/NAME.

    test: None holds 20 % of `train` out, stratified by seed. target: the label set whose labels the data's
    class names are; None maps the names themselves through WordNet. The run holds checkpoints, `result.json`
    and `metrics.jsonl`. Raises what `pretrain` raises, and DataError for classes that don't fit.
    """
    with training.begin(
        "fine-tune",
        recipe,
        RULES,
        out,
        name,
        root=root,
        resume=resume,
        allow_changes=allow_changes,
        cpu=cpu,
        progress=progress,
    ) as run:
        sets = labelled_sets(
            train, test, target, recipe.seed, multi_label=recipe.multi_label, label_base=recipe.label_base
        )
        tuning = settled(recipe, run, checkpoint, sets)
        if absent := without_images(target, sets.classes):
            run.progress.note(absent)
        for warning in recipe.warnings(len(tuning.schedule)):
            run.progress.warn(warning)
        learner = tuning.learner()
        state = training.fit(
            run,
            recipe,
            learner,
            tuning.schedule,
            tuning.loader(learner.objective),
            tuning.parts,
            flops=tuning.flops(),
            after_step=lambda step: tuning.evaluate_where_due(step, learner),
        )
        weights = learner.tower_weights()
        averaged = learner.average is not None
        given = inputs(recipe.checkpoint, train, test, target)
        return run.on_main(lambda: tuning.result(state, weights, given, averaged=averaged))


def settled(recipe: FinetuneRecipe, run: Run, checkpoint: Checkpoint, sets: LabelledSets) -> "FineTuning":
    """All that a run needs before it trains; UsageError for sizes that the tower does not take."""
    chosen = sets.train.indices
    chosen = chosen[subset(sets.train.labels[chosen], TrainSize.parse(recipe.train_size), recipe.seed)]
    source = Selection(sets.train.source, chosen.tolist())
    if recipe.global_batch_size > len(source):
        run.progress.warn(
            f"a step of {recipe.global_batch_size:,} images is more than all {len(source):,}: such a run has "
            "few steps; set global_batch_size"
        )
    if recipe.random_backbone:
        tower = untrained(checkpoint, recipe.seed)
        if recipe.learns == "classifier":
            # Of all training images, as the fast probe does: they need no label.
            everything = sets.train.indices.tolist()
            workers, progress = recipe.workers, run.progress
            reestimate_batch_norm(tower, sets.train.source, everything, workers=workers, progress=progress)
        checkpoint = replace(checkpoint, tower=tower)
    prior = None
    if recipe.init == "transfer" and not recipe.random_backbone:
        prior = prior_head(
            checkpoint,
            sets.classes,
            recipe.seed,
            mapping=recipe.mapping,
            rows=recipe.rows,
            progress=run.progress,
        )
    base = base_size(recipe, checkpoint.tower)
    recipe.must_share_out(base, run.world.size)
    tower = make_tower(recipe, checkpoint.tower, len(sets.classes), prior)
    if sets.classes.multi_label:
        run.progress.note("an image may have several labels: binary cross-entropy over the classes, and mAP")
        if prior is None:
            with torch.no_grad():
                tower.linear_head().bias.copy_(log_odds(sets.train.labels[chosen]))
    schedule = planned(recipe, base, len(source), (run.start.step, run.start.samples))
    assert schedule is not None, "the source is open, so its epochs have a length"
    origin = str(checkpoint.path or tower.name)
    return FineTuning(recipe, run, sets, source, schedule, tower, copy.deepcopy(tower), prior, origin)


@dataclass(frozen=True)
class FineTuning:
    """One run: the labelled images, the steps, and the tower with its classifier as they start.

    copy: of the tower, on which weights are evaluated: what learns may be spread over processes.
    """

    recipe: FinetuneRecipe
    run: Run
    sets: LabelledSets
    source: Selection
    schedule: StepSchedule
    tower: Tower
    copy: Tower
    prior: TransferredHead | None
    origin: str

    def learner(self) -> Learner:
        """The tower under the data's loss, with learning rates by layer; or its classifier alone."""
        recipe, world = self.recipe, self.run.world
        objective = make_objective(
            recipe,
            self.tower,
            ClassEncoder(self.sets.ids),
            len(self.schedule),
            multi_label=self.sets.classes.multi_label,
            rank=world.rank,
            world=world.size,
        )
        learner = Learner(
            objective,
            recipe.optimiser,
            world,
            precision=world.precision(recipe.precision),
            rate_of=layer_rates(self.tower.module, recipe.layer_decay),
            **recipe.learner_options(len(self.schedule)),
        )
        if recipe.learns == "classifier":
            self.tower.module.eval()  # features as every probe has them
        return learner

    def flops(self) -> dict[Shape, int]:
        """Operations of an image's forward pass by its shape, as `training.fit` wants them."""
        found = flops(self.tower, self.recipe.image_sizes(self.schedule.base_size))
        if self.recipe.learns == "all":
            return found
        # No backward pass goes through the tower.
        return {shape: count // BACKWARD for shape, count in found.items()}

    def loader(self, objective: Objective) -> Loader:
        """Labelled images in their order, cropped at random."""
        recipe, source = self.recipe, self.source
        interpolation = self.tower.preprocessing.interpolation
        transform = TrainTransform(recipe.augmentation, recipe.seed, interpolation, recipe.decode)
        order = Order(len(source), recipe.seed)
        return Loader(source, order, transform, objective.collate, recipe.workers, self.run.world.device)

    def parts(self, weights: Mapping[str, Tensor]) -> Mapping[str, Any]:  # noqa: ARG002
        """What a checkpoint has beside the tower."""
        kind = "fine-tuning" if self.recipe.learns == "all" else "linear probe"
        about = {"kind": kind, "from": self.origin}
        return {
            "config": {**about, "recipe": recipes.plain(self.recipe)},
            "label_names": self.names,
            "problem_type": checkpoints.MULTI_LABEL
            if self.sets.classes.multi_label
            else checkpoints.SINGLE_LABEL,
        }

    @property
    def names(self) -> list[str]:
        """The classes' labels."""
        return [label.name for label in self.sets.classes.labels]

    def evaluate_where_due(self, step: int, learner: Learner) -> None:
        """After a step: a row of `evaluations.jsonl` where `evaluate_epochs` have passed."""
        every = self.recipe.evaluate_epochs and self.recipe.evaluate_epochs * len(self.source)
        samples = self.schedule.samples
        if every and samples(step) // every > samples(step - 1) // every:
            weights = learner.tower_weights()
            self.run.on_main(lambda: self._evaluate(step, weights))

    def _evaluate(self, step: int, weights: Mapping[str, Tensor]) -> None:
        kept = means(self.answers(weights)[0], self.recipe.seed)
        self.run.evaluated({"step": step, "samples": self.schedule.samples(step), **kept})

    def answers(self, weights: Mapping[str, Tensor]) -> tuple[Answers | MultiLabelAnswers, int]:
        """What the tower with these weights says of the test images; how many are unreadable."""
        device = self.run.world.device
        return answers(self.copy, weights, self.sets.test, device, workers=self.recipe.workers)

    def result(
        self, state: RunState, weights: Mapping[str, Tensor], inputs: dict[str, str], *, averaged: bool
    ) -> FinetuneResult | MultiLabelFinetuneResult:
        """Evaluate the weights, write `result.json` and what each image was answered, and tell of the run."""
        directory, sets = self.run.directory, self.sets
        first_loss, final_loss = first_and_final_loss(directory.metrics)
        answered, unreadable = self.answers(weights)
        kind = MultiLabelFinetuneResult if sets.classes.multi_label else FinetuneResult
        rows = None if self.prior is None else self.prior.rows
        found = kind(
            **figures(answered, self.recipe.seed, self.names),
            confused=answered.confused(self.names) if isinstance(answered, Answers) else [],
            protocol=protocol(self.recipe, rows, multi_label=sets.classes.multi_label),
            unreadable=unreadable,
            checkpoint=str(checkpoints.latest(directory.path)),
            run=str(directory.path),
            init="transfer" if self.prior is not None else "random",
            target=sets.classes.name,
            split=sets.split,
            weights="average" if averaged else "raw",
            prior={} if self.prior is None else self.prior.counts(),
            rows=rows,
            steps=state.step,
            seconds=round(state.totals["seconds"], 3),
            first_loss=first_loss,
            final_loss=final_loss,
            train_size=self.recipe.train_size,
            random_backbone=self.recipe.random_backbone,
            train_images=len(self.source),
            classes=len(sets.classes),
            unlabelled=sets.unlabelled,
            history=read_metrics(directory.evaluations, Row),
            seed=self.recipe.seed,
            recipe=recipes.plain(self.recipe),
        )
        found.inputs = inputs
        found.data = {"train": described(sets.train.source), "test": described(sets.test.source)}
        found.write(directory.path / RESULT)
        for name, text in answered.files(self.names).items():
            write_text(directory.path / name, text)
        for name, tensors in answered.tensors().items():
            with replacing(directory.path / name) as temporary:
                save_tensors(tensors, temporary)
        return found
