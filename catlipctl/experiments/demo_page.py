"""The demo's page: what was measured, as plots with a sentence or two each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catlipctl import files, reports
from catlipctl.data import emoji
from catlipctl.reports import AccuracyRow, Picture, Section, Table
from catlipctl.vocabulary import Vocabulary

if TYPE_CHECKING:
    from catlipctl.experiments.demo import DemoResult, Init, Tower

_TOWERS: "tuple[Tower, Tower]" = ("pre-trained", "untrained")


def demo_page(
    result: "DemoResult", vocabulary: Vocabulary, metrics: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write the page: one HTML file that needs no network. metrics: the rows of the run's metrics.jsonl."""
    sections = [
        _summary(result),
        _gallery(result),
        _frequencies(result, vocabulary),
        _overlap(result),
        _loss(result, metrics),
        _probe(result),
        _inits(result),
        _transfer_init(result),
        _step(result),
        Section("Credits", "\n\n".join(line.strip() for line in emoji.CREDITS.splitlines())),
    ]
    files.write_text(path, reports.page("A vision model that learned from captions", sections))


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
    return Section(
        "What happened",
        f"A {result.recipe['model']['name']} was shown captioned emoji {run.samples:,} times, in "
        f"{run.seconds:,.0f} s. Its only labels were the {run.vocabulary_size:,} WordNet nouns that their "
        f"captions gave. Then a linear classifier on its features told apart {len(result.probes.rows)} "
        "classes of other emoji, none of which it had seen: with 5 training images a class it is "
        f"{100 * (after - before):+.1f} points of accuracy from the same tower untrained.\n\n"
        "Emoji are small, clean drawings: this page shows that every part works, and what each is for. It "
        "says nothing about photographs.",
        table=accuracy_table(result),
    )


def _gallery(result: "DemoResult") -> Section:
    pictures = []
    for seen in result.predictions.images:
        image, first = Path(seen.image), seen.labels[0]
        pictures.append(Picture(image, image.parent.name, first.label, first.probability))
    return Section(
        "What it sees",
        "Two test images of each class, with the most probable label; where that is wrong, the truth stands "
        "in brackets. "
        f"Try your own: `catlipctl predict IMAGE --checkpoint {result.classifier.checkpoint}`",
        figure=reports.embed(reports.gallery(pictures)),
    )


def _frequencies(result: "DemoResult", vocabulary: Vocabulary) -> Section:
    return Section(
        "Labels from captions",
        f"{vocabulary.captions:,} captions gave these nouns; {vocabulary.captions_without_label:,} gave "
        f"none. The {len(vocabulary):,} that were counted more than {vocabulary.threshold:,} times are the "
        "classes.",
        figure=reports.embed(reports.label_frequencies({result.pretraining.run: vocabulary})),
    )


def _overlap(result: "DemoResult") -> Section:
    return Section(
        "Do the captions speak of ImageNet's classes?",
        f"{result.overlap.exact:,} of {result.overlap.classes:,} classes have a synset of the vocabulary; "
        "the others are as near as the steps show (CatLIP Figure 2b).",
        figure=reports.embed(reports.overlap({result.pretraining.run: result.overlap})),
    )


def _loss(result: "DemoResult", metrics: Sequence[Mapping[str, Any]]) -> Section:
    run, first, final = result.pretraining, metrics[0]["loss"], metrics[-1]["loss"]
    return Section(
        "Pre-training",
        f"Binary cross-entropy, summed over {run.vocabulary_size:,} classes: {first:.1f} at first, "
        f"{final:.2f} at last, at {run.images_per_second:,.0f} images/s.",
        figure=reports.embed(reports.loss(metrics, run.run)),
    )


def _probe(result: "DemoResult") -> Section:
    series: dict[str, list[AccuracyRow]] = {t: _rows(result, t, "random") for t in _TOWERS}
    chance, run = result.probes.majority_share, result.pretraining.run
    return Section(
        "What pre-training is worth",
        "The same linear probe on the features of the pre-trained tower and of the same tower untrained (its "
        "BatchNorm statistics re-estimated). For both, regularisation is tuned on held-out training images "
        "where there are at least 4 images a class, else it is a fixed constant. Bars are means over draws "
        "of training images, whiskers their range, on "
        f"{result.probes.test_images:,} test images.",
        figure=reports.embed(reports.probe(series, chance=chance, subtitle=run)),
    )


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
    return Section(
        "What the pre-training classifier is worth",
        text,
        table=Table(["class", "row"], list(result.probes.rows.items())),
        figure=reports.embed(reports.inits(series, chance=chance, subtitle=result.pretraining.run)),
    )


def _transfer_init(result: "DemoResult") -> Section:
    init = result.transfer_init
    return Section(
        f"A classifier for {init.target}",
        f"How the {init.labels:,} rows were made from a vocabulary this small. `{init.checkpoint}` is a "
        "checkpoint that timm opens; its `account.csv` says for each label which synsets it came from.",
        table=Table(["row", "labels"], [[how, count] for how, count in init.counts.items()]),
    )


def _step(result: "DemoResult") -> Section:
    benchmark = result.benchmark
    return Section(
        "CatLIP against CLIP",
        f"The same image tower ({benchmark.model}), batch ({benchmark.batch_size}) and optimiser on "
        f"{benchmark.device}: a CLIP step takes {benchmark.ratio.median:.2f} times as long as a CatLIP step "
        f"(quartiles {benchmark.ratio.low:.2f} to {benchmark.ratio.high:.2f}). The paper's "
        "2.7 is for 64 to 256 GPUs at their largest batches.",
        figure=reports.embed(reports.step(*benchmark.bars(), benchmark.model)),
    )


def _rows(result: "DemoResult", tower: "Tower", init: "Init") -> list[AccuracyRow]:
    return [
        {"images_per_class": probe.images_per_class, "acc1": probe.acc1}
        for probe in result.probes.fitted
        if (probe.tower, probe.init) == (tower, init)
    ]
