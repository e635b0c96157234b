"""The demo's page: the report of its run, and before it what only the demo measures."""

from pathlib import Path
from typing import TYPE_CHECKING

from catlipctl import reports
from catlipctl.data import emoji
from catlipctl.reports import AccuracyRow, Figure, Picture, Section, Table

if TYPE_CHECKING:
    from catlipctl.experiments.demo import DemoResult, Init, Tower

_TOWERS: "tuple[Tower, Tower]" = ("pre-trained", "untrained")


def demo_page(result: "DemoResult", path: Path) -> None:
    """Write the page: one HTML file that needs no network."""
    found = reports.find([Path(result.pretraining.run)])
    sections = [
        _summary(result),
        _gallery(result),
        _probe(result),
        _inits(result),
        *reports.sections(found),
        Section("Credits", ["\n\n".join(line.strip() for line in emoji.CREDITS.splitlines())]),
    ]
    reports.write(path, "A vision model that learned from captions", sections)


def accuracy_table(result: "DemoResult") -> Table:
    """Top-1 accuracy by images a class: the tower, its control, and the classifier's two starts."""
    budgets = list(dict.fromkeys(probe.images_per_class for probe in result.probes.fitted))
    kinds: list[tuple[str, Tower, Init]] = [
        ("untrained tower", "untrained", "random"),
        ("pre-trained tower", "pre-trained", "random"),
        ("pre-trained tower, Transfer Init", "pre-trained", "transfer"),
    ]
    rows = [
        [name, *(f"{result.probes.mean_acc1(tower, init, budget):.1%}" for budget in budgets)]
        for name, tower, init in kinds
    ]
    return Table(["top-1 by images a class", *budgets], rows)


def _summary(result: "DemoResult") -> Section:
    run = result.pretraining
    after, before = (result.probes.mean_acc1(tower, "random", "5") for tower in _TOWERS)
    text = (
        f"A {result.recipe['model']['name']} was shown captioned emoji {run.samples:,} times, in "
        f"{run.seconds:,.0f} s. Its only labels were the {run.vocabulary_size:,} WordNet nouns that their "
        f"captions gave. Then a linear classifier on its features told apart {len(result.probes.rows)} "
        "classes of other emoji, none of which it had seen: with 5 training images a class it is "
        f"{100 * (after - before):+.1f} points of accuracy from the same tower untrained.\n\n"
        "Emoji are small, clean drawings: this page shows that every part works, and what each is for. It "
        "says nothing about photographs."
    )
    return Section("What happened", [text, accuracy_table(result)])


def _gallery(result: "DemoResult") -> Section:
    pictures = []
    for seen in result.predictions.images:
        image, first = Path(seen.image), seen.labels[0]
        pictures.append(Picture(image, image.parent.name, first.label, first.probability))
    text = (
        "Two test images of each class, with the most probable label; where that is wrong, the truth stands "
        "in brackets. "
        f"Try your own: `catlipctl predict IMAGE --checkpoint {result.classifier.checkpoint}`"
    )
    return Section("What it sees", [text, Figure(lambda: reports.gallery(pictures))])


def _probe(result: "DemoResult") -> Section:
    series: dict[str, list[AccuracyRow]] = {t: _rows(result, t, "random") for t in _TOWERS}
    chance, run = result.probes.majority_share, result.pretraining.run
    text = (
        "The same linear probe on the features of the pre-trained tower and of the same tower untrained (its "
        "BatchNorm statistics re-estimated). For both, regularisation is tuned on held-out training images "
        "where there are at least 4 images a class, else it is a fixed constant. Bars are means over draws "
        "of training images, whiskers their range, on "
        f"{result.probes.test_images:,} test images."
    )
    figure = Figure(lambda: reports.probe(series, chance=chance, subtitle=run))
    return Section("What pre-training is worth", [text, figure])


def _inits(result: "DemoResult") -> Section:
    series = {
        "transfer": _rows(result, "pre-trained", "transfer"),
        "tuned random": _rows(result, "pre-trained", "random"),
    }
    zero_shot, chance = result.probes.zero_shot_acc1, result.probes.majority_share
    text = "Transfer Init takes the rows of the pre-training classifier whose synsets mean the new classes. "
    if zero_shot is not None:
        series["zero-shot"] = [{**row, "acc1": zero_shot} for row in _rows(result, "pre-trained", "random")]
        text += (
            f"With no label used they reach {zero_shot:.1%}, logits centred on the unlabelled training "
            f"images (the largest class alone: {chance:.1%}); as the prior of the "
            "probe they save images where these are few."
        )
    figure = Figure(lambda: reports.inits(series, chance=chance, subtitle=result.pretraining.run))
    rows = Table(["class", "row"], list(result.probes.rows.items()))
    return Section("What the pre-training classifier is worth", [text, figure, rows])


def _rows(result: "DemoResult", tower: "Tower", init: "Init") -> list[AccuracyRow]:
    return [
        {"images_per_class": probe.images_per_class, "acc1": probe.acc1}
        for probe in result.probes.fitted
        if (probe.tower, probe.init) == (tower, init)
    ]
