"""The demo: the whole life of a CatLIP model on the embedded data, ending in one page of plots.

Pre-train on captioned emoji, compare the vocabulary with ImageNet's classes, carry the classifier over, probe
the tower on emoji that it never saw, and time a CatLIP step against a CLIP step.
"""

import itertools
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from catlipctl import checkpoints, files, recipe, reports
from catlipctl import vocabulary as vocabularies
from catlipctl.bench.step import StepSettings, step
from catlipctl.bench.step_result import StepBenchmark
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import Source, emoji
from catlipctl.labels import targets
from catlipctl.pretraining import PretrainResult, pretrain
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Measurement
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.transfer import (
    Predictions,
    ProbeResult,
    TransferInit,
    features,
    linear_probe,
    predict,
    write_transfer_init,
)
from catlipctl.transfer.features import extract_sets
from catlipctl.transfer.initialise import prior_head
from catlipctl.transfer.labelled import TrainSize, open_splits
from catlipctl.transfer.metrics import majority_share
from catlipctl.transfer.probes import PROTOCOL, probe
from catlipctl.vocabulary import overlap
from catlipctl.vocabulary.overlap import Overlap

RECIPE = "demo"
BUDGETS = {"1": "1/class", "5": "5/class", "20": "20/class", "all": "100%"}
"""Training images a class, as plots and `--train-size` call them."""
DRAWS = 3
"""Small training sets differ from draw to draw: each is drawn so often, and the mean is shown."""

Tower = Literal["pre-trained", "untrained"]
Init = Literal["transfer", "random"]


class Probe(BaseModel):
    """Top-1 accuracy of one fitted classifier; `seed` drew its training images."""

    tower: Tower
    init: Init
    images_per_class: str
    seed: int
    acc1: float


class Probes(BaseModel):
    """Linear probes on emoji that were not in pre-training; accuracies in 0..1.

    rows: class -> how its row of the prior was made. majority_share: the largest class's share of the test
    images. zero_shot_acc1: of those rows without any label, centred on the unlabelled training images; None
    where no class has one.
    """

    rows: dict[str, str]
    test_images: int
    majority_share: float
    zero_shot_acc1: float | None
    fitted: list[Probe]

    def mean_acc1(self, tower: Tower, init: Init, images_per_class: str) -> float:
        """Top-1 accuracy, mean over the draws of training images."""
        found = [
            probe.acc1
            for probe in self.fitted
            if (probe.tower, probe.init, probe.images_per_class) == (tower, init, images_per_class)
        ]
        return sum(found) / len(found)


class DemoResult(Measurement):
    """All that the demo measured, and the page that shows it (`report`)."""

    protocol: str = PROTOCOL
    report: str
    seconds: float
    pretraining: PretrainResult
    overlap: Overlap
    transfer_init: TransferInit
    probes: Probes
    classifier: ProbeResult
    predictions: Predictions
    benchmark: StepBenchmark


def demo(
    *,
    out: Path | None = None,
    resume: bool = False,
    overrides: list[str] | None = None,
    settings: StepSettings | None = None,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> DemoResult:
    """Run the demo into a run's directory (`out`, default a new `runs/demo`).

    It leaves `demo.json` and `report.html` there (numbered where that is taken).
    resume: go on with the pre-training that was stopped.
    overrides: `key=value` for the recipe.
    Raises MachineError where the extra `demo` is not installed, and whatever its parts raise.
    """
    from catlipctl.experiments.demo_page import demo_page

    started = time.monotonic()
    loaded = recipe.load(
        PretrainRecipe, recipe.find(RECIPE), [recipe.Override.parse(text) for text in overrides or []]
    )
    progress.note("1 of 5  pre-training on captioned emoji")
    pretraining = pretrain(
        loaded.value, out=out, name=RECIPE, resume=resume, cache_dir=cache_dir, progress=progress
    )
    run = Path(pretraining.run)
    checkpoint = checkpoints.load(run)
    vocabulary = vocabularies.load(run / "vocabulary.json")
    progress.note("2 of 5  the vocabulary against ImageNet-1k's classes")
    overlapping = overlap.overlap(vocabulary, targets.load("imagenet"), name=str(run))
    compared = overlap.Overlaps(target="imagenet", senses="wnid", overlaps=[overlapping])
    compared.inputs = {"target": "imagenet", "vocabularies": str(run / "vocabulary.json")}
    reports.save_overlap(compared, files.unused(run / "overlap-imagenet"))
    progress.note("3 of 5  Transfer Init: a classifier for Places365 from the pre-training head")
    transferred = write_transfer_init(
        checkpoint, targets.load("places365"), files.unused(run / "transfer" / "places365")
    )
    progress.note("4 of 5  linear probes on emoji that were not in pre-training")
    train, test = open_splits(emoji.TRANSFER, cache_dir=cache_dir, progress=progress)
    probes = _probes(checkpoint, train, test, loaded.value.seed, progress)
    classifier = linear_probe(
        checkpoint,
        train,
        test,
        target=targets.load("emoji"),
        out=files.unused(run / "eval" / "lp-emoji-transfer", numbered=True),
        progress=progress,
    )
    assert isinstance(classifier, ProbeResult), "an emoji has one class"
    progress.note("5 of 5  one training step of CatLIP against one of CLIP")
    benchmark = step(settings or StepSettings(), progress)
    benchmark.write(files.unused(run / "bench" / "step", (".json",), numbered=True).with_suffix(".json"))
    result = DemoResult(
        report=str(reports.unused(run)),
        seconds=round(time.monotonic() - started, 1),
        recipe=recipe.plain(loaded.value),
        seed=loaded.value.seed,
        pretraining=pretraining,
        overlap=overlapping,
        transfer_init=transferred,
        probes=probes,
        classifier=classifier,
        predictions=predict(checkpoints.load(str(classifier.checkpoint)), _some_images(cache_dir), top=1),
        benchmark=benchmark,
    )
    result.inputs = {"checkpoint": str(checkpoint.path), "data": " ".join(loaded.value.data.sources)}
    result.inputs |= {name: classifier.inputs[name] for name in ("target", "test")} | {"train": train.name}
    result.data = classifier.data
    result.write(run / "demo.json")
    demo_page(result, Path(result.report))
    return result


def _some_images(cache_dir: Path | None) -> list[Path]:
    """Two test images of each class: one of the first, one of the last, in different drawings."""
    folders = sorted((emoji.transfer(cache_dir) / "test").iterdir())
    return [image for folder in folders for image in (min(folder.iterdir()), max(folder.iterdir()))]


def _probes(
    checkpoint: Checkpoint, train: Source, test: Source | None, seed: int, progress: Progress
) -> Probes:
    """Probes of the tower and of the same tower untrained, on the same images, at every budget."""
    target = targets.load("emoji")
    sets = extract_sets(checkpoint.tower, train, test, target=target, progress=progress)
    control = extract_sets(
        features.untrained(checkpoint, seed),
        train,
        test,
        target=target,
        reestimate=True,
        progress=progress,
    )
    head = prior_head(checkpoint, sets.classes, seed, progress=progress)
    kinds: tuple[tuple[Tower, Init], ...] = (
        ("pre-trained", "transfer"),
        ("pre-trained", "random"),
        ("untrained", "random"),
    )
    fitted: list[Probe] = []
    zero_shot_acc1 = None
    draws = [(name, draw) for name in BUDGETS for draw in range(1 if name == "all" else DRAWS)]
    with progress.task("probes", len(draws) * len(kinds), "probes") as task:
        for (name, draw), (tower, init) in itertools.product(draws, kinds):
            used, prior = (sets, head) if tower == "pre-trained" else (control, None)
            size = TrainSize.parse(BUDGETS[name])
            _, scores = probe(used, prior, train_size=size, init=init, seed=draw)
            fitted.append(Probe(tower=tower, init=init, images_per_class=name, seed=draw, acc1=scores.acc1))
            # One figure: it is centred on all training images, whatever the budget.
            zero_shot_acc1 = scores.zero_shot_acc1 if prior is not None else zero_shot_acc1
            task.advance()
    truth = sets.test.labels
    return Probes(
        rows={} if head is None else {row.label: row.how for row in head.account},
        test_images=len(truth),
        majority_share=majority_share(truth),
        zero_shot_acc1=zero_shot_acc1,
        fitted=fitted,
    )
