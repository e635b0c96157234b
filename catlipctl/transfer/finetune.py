"""Fine-tuning: a pre-trained tower with a target's classifier, trained whole on the engine."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from timm.models import group_parameters
from torch import Tensor

from catlipctl import checkpoints, training
from catlipctl import recipe as recipes
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Augmentation, Source, read_images
from catlipctl.data.loader import Loader
from catlipctl.data.order import Order
from catlipctl.data.sample import Sample, Selection
from catlipctl.data.transform import Decode, TrainTransform
from catlipctl.errors import DataError, UsageError
from catlipctl.files import write_text
from catlipctl.labels.targets import LabelSet
from catlipctl.models import TimmTower, Tower
from catlipctl.objectives import Context
from catlipctl.objectives.classification import Classification, ClassificationSettings
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.training import FREE_ON_RESUME, Learner, Run, TrainingSettings
from catlipctl.training.optimiser import OptimiserSettings, ScheduleSettings
from catlipctl.training.report import read_metrics
from catlipctl.training.steps import Length
from catlipctl.transfer.classifier import majority_share, mean_per_class_recall, top_k_accuracy, with_head
from catlipctl.transfer.initialise import TransferredHead
from catlipctl.transfer.matching import How
from catlipctl.transfer.prior import prior_head
from catlipctl.transfer.splits import Labelled, described, labelled_sets

PROTOCOL = "fine-tuning: all weights, cross-entropy, fixed length, last weights"
Init = Literal["transfer", "random"]
BATCH = 256
EVALUATIONS = "evaluations.jsonl"
FREE = FREE_ON_RESUME | {"workers", "sources", "evaluate_epochs"}
"""Keys that may change on resuming."""


class FinetuneRecipe(TrainingSettings):
    """Everything that decides a fine-tuning run. Rates suit a few thousand images and a small tower."""

    checkpoint: str
    sources: list[str]
    """The training images, and the test images where they are another source."""
    target: str | None = None
    init: Init = "transfer"
    """The classifier at the start: rows of the pre-training head, or fresh ones."""
    classification: ClassificationSettings = Field(
        default_factory=lambda: ClassificationSettings(label_smoothing=0.1)
    )
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    """Each block's learning rate over that of the block after it; the classifier's is the whole."""
    augmentation: Augmentation = Field(default_factory=Augmentation)
    decode: Decode = "fast"
    workers: int = Field(default=0, ge=0)
    evaluate_epochs: float | None = Field(default=None, gt=0)
    """Epochs between evaluations on the way; null: at the end alone."""
    global_batch_size: int = Field(default=64, ge=1)
    length: Length = Length(epochs=20)
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, weight_decay=0.05)
    schedule: ScheduleSettings = ScheduleSettings(warmup_steps=50)


class FinetuneResult(Measurement):
    """A fine-tuned classifier, measured on the test images; accuracies in 0..1.

    prior: how the classifier's rows were made at the start; empty with fresh ones. weights: `average` where
    the EMA was evaluated and saved, else `raw`. history: accuracies on the way, by step.
    """

    protocol: str = PROTOCOL
    checkpoint: str
    run: str
    init: Init
    target: str
    split: str
    weights: Literal["average", "raw"]
    acc1: float
    acc5: float
    mean_per_class_recall: float
    prior: dict[How, int]
    steps: int
    seconds: float
    first_loss: float
    final_loss: float
    train_images: int
    test_images: int
    classes: int
    majority_share: float
    unreadable: int
    unlabelled: int
    history: list[dict[str, float]]


@dataclass(frozen=True)
class ClassEncoder:
    """A sample's class id, by its label."""

    ids: Mapping[str, int]

    def __call__(self, sample: Sample) -> list[int]:
        return [self.ids[sample.label]] if sample.label is not None else []


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
    cpu: bool = False,
    progress: Progress = SILENT,
) -> FinetuneResult:
    """Train a tower whole on `train`, evaluate it on `test`, in a run of its own: `out`, or a new ROOT/NAME.

    test: None holds 20 % of `train` out, stratified by seed. target: the label set whose labels the data's
    class names are; None maps the names themselves through WordNet. The run holds checkpoints, `result.json`
    and `metrics.jsonl`. Raises what `pretrain` raises, and DataError for classes that don't fit.
    """
    with training.begin("fine-tune", out, name, root=root, resume=resume, cpu=cpu, progress=progress) as run:
        run.on_main(lambda: run.directory.settle_recipe(recipe, resume=resume, free=FREE))
        run.progress.note(f"run: {run.directory.path}")
        sets = labelled_sets(train, test, target, recipe.seed)
        prior = None
        if recipe.init == "transfer":
            prior = prior_head(checkpoint, sets.classes, recipe.seed, progress=run.progress)
        tower = with_classifier(checkpoint, len(sets.classes), prior, recipe.seed)
        size = tower.preprocessing.size
        recipe.must_share_out(size, run.world.size)
        check_sizes(tower, recipe.image_sizes(size))
        source = Selection(sets.train.source, sets.train.indices.tolist())
        schedule = recipe.steps(size, len(source))
        assert schedule is not None, "the source is open, so its epochs have a length"
        for warning in recipe.warnings(len(schedule)):
            run.progress.warn(warning)
        objective = Classification.build(
            recipe.classification,
            Context(tower=tower, encode=ClassEncoder(sets.ids), rank=run.world.rank, world=run.world.size),
        )
        learner = Learner(
            objective,
            recipe.optimiser,
            run.world,
            precision=run.world.precision(recipe.precision),
            rate_of=layer_rates(tower.module, recipe.layer_decay),
            **recipe.learner_options(len(schedule)),
        )
        loader = make_loader(recipe, run, source, objective)

        def parts(_: Mapping[str, Tensor]) -> Mapping[str, Any]:
            about = {"kind": "fine-tuning", "from": str(checkpoint.path or tower.name)}
            return {
                "config": {**about, "activation": "softmax", "recipe": recipes.plain(recipe)},
                "label_names": [label.name for label in sets.classes.labels],
            }

        def evaluate(step: int) -> None:
            """After each step: on the way a row of `evaluations.jsonl` where one is due."""
            every = recipe.evaluate_epochs and recipe.evaluate_epochs * len(source)
            if every and schedule.samples(step) // every > schedule.samples(step - 1) // every:
                weights = learner.tower_weights()
                run.on_main(lambda: append_scores(run, step, scores_of(tower, weights, sets.test, recipe)))

        state = training.fit(
            run, recipe, learner, schedule, loader, parts, resume=resume, after_step=evaluate
        )
        weights = learner.tower_weights()

        def result() -> FinetuneResult:
            scores = scores_of(tower, weights, sets.test, recipe)
            losses = [row["loss"] for row in read_metrics(run.directory.metrics)]
            few = max(1, len(losses) // 20)
            found = FinetuneResult(
                **scores,
                checkpoint=str(checkpoints.latest(run.directory.path)),
                run=str(run.directory.path),
                init="transfer" if prior is not None else "random",
                target=sets.classes.name,
                split=sets.split,
                weights="raw" if learner.average is None else "average",
                prior={} if prior is None else prior.counts(),
                steps=state.step,
                seconds=round(state.totals["seconds"], 3),
                first_loss=sum(losses[:few]) / few,
                final_loss=sum(losses[-few:]) / few,
                train_images=len(source),
                classes=len(sets.classes),
                unlabelled=sets.unlabelled,
                history=read_metrics(run.directory.path / EVALUATIONS),
                seed=recipe.seed,
                recipe=recipes.plain(recipe),
            )
            found.inputs = {"checkpoint": recipe.checkpoint, "data": train.name}
            found.data = {"train": described(train), "test": described(sets.test.source)}
            found.write(run.directory.path / "result.json")
            return found

        return run.on_main(result)


def with_classifier(checkpoint: Checkpoint, classes: int, prior: TransferredHead | None, seed: int) -> Tower:
    """The checkpoint's tower with a classifier for a target: a prior's rows, or fresh ones by `seed`."""
    torch.manual_seed(seed)
    if prior is not None:
        return with_head(checkpoint.tower, prior.weight, prior.bias)
    module: Any = copy.deepcopy(checkpoint.tower.module)
    module.reset_classifier(classes)
    return TimmTower(module)


def make_loader(recipe: FinetuneRecipe, run: Run, source: Source, objective: Classification) -> Loader:
    """Labelled images in their order, cropped at random."""
    transform = TrainTransform(
        recipe.augmentation,
        recipe.seed,
        interpolation=objective.tower.preprocessing.interpolation,
        decode=recipe.decode,
    )
    order = Order(len(source), recipe.seed)
    return Loader(source, order, transform, objective.collate, recipe.workers, run.world.device)


def layer_rates(module: Any, decay: float) -> Callable[[str], float]:
    """A parameter's share of the learning rate: 1 in the classifier, times `decay` with each block before it.

    Blocks are timm's, as its own layer-wise decay counts them. Names are an objective's: with `model.`.
    """
    if decay == 1:
        return lambda _: 1.0
    groups = group_parameters(module, module.group_matcher(coarse=False), reverse=True)
    last = max(groups.values())
    return lambda name: decay ** (last - groups.get(name.removeprefix("model."), last))


def check_sizes(tower: Tower, sizes: list[int]) -> None:
    """UsageError for a size that a loaded tower does not take."""
    module = tower.module.eval()
    for size in sizes:
        try:
            with torch.inference_mode():
                module(torch.zeros(1, 3, size, size))
        except Exception as error:  # timm's towers raise what they like
            raise UsageError(
                f"{tower.name} takes no images of {size} px: {str(error).splitlines()[0]}",
                "leave `sizes` out, or take a tower of variable size",
            ) from error


def scores_of(
    tower: Tower, weights: Mapping[str, Tensor], test: Labelled, recipe: FinetuneRecipe
) -> dict[str, Any]:
    """Accuracies on the test images of a tower with these weights, on their device. DataError without any."""
    module = copy.deepcopy(tower.module)
    module.load_state_dict(weights)
    device = next(module.parameters()).device
    reader = read_images(
        test.source, tower.preprocessing, test.indices.tolist(), batch=BATCH, workers=recipe.workers
    )
    logits, samples = [], []
    with torch.inference_mode():
        module.eval()
        for images, read in reader:
            logits.append(module(tower.preprocessing.prepared(images.to(device))).float().cpu())
            samples.append(read)
    if not samples:
        raise DataError(
            f"none of the test images of {test.source.name} can be read", "check that they are images"
        )
    predicted, truth = torch.cat(logits), test.labels[torch.cat(samples)]
    return {
        "acc1": top_k_accuracy(predicted, truth, 1),
        "acc5": top_k_accuracy(predicted, truth, 5),
        "mean_per_class_recall": mean_per_class_recall(predicted, truth),
        "majority_share": majority_share(truth),
        "test_images": len(truth),
        "unreadable": reader.unreadable,
    }


def append_scores(run: Run, step: int, scores: Mapping[str, Any]) -> None:
    """A row of `evaluations.jsonl`; rows of steps that are made again give way."""
    path = run.directory.path / EVALUATIONS
    rows = [row for row in read_metrics(path) if row["step"] < step]
    rows.append(
        {"step": step, "acc1": scores["acc1"], "mean_per_class_recall": scores["mean_per_class_recall"]}
    )
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
