"""Evaluations on the page: figures by protocol, and what each confuses."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from catlipctl.reports.findings import Findings, Found
from catlipctl.reports.logs import METRICS
from catlipctl.reports.measured import Evaluation, Interval, Measured, MultiLabelEvaluation, TaggerEvaluation
from catlipctl.reports.mistakes import pictures
from catlipctl.reports.page import Cell, Figure, Part, Section, Table
from catlipctl.reports.predictions import FILE, MOST_CLASSES, MOST_ROWS
from catlipctl.reports.train_sizes import TrainSizes, train_sizes
from catlipctl.reports.training import loss


def evaluations(findings: Findings) -> list[Section]:
    """A table of each protocol on each set of test images, then a section of each evaluation."""
    found = findings.of(Measured)
    by_size = [_train_sizes(file, result) for file, result in findings.of(TrainSizes)]
    if not found:
        if not findings.runs or by_size:
            return by_size
        make = shlex.join(["catlipctl", "eval", "lp", "--checkpoint", str(findings.runs[0].path)])
        return [Section("Evaluations", [f"None lies under the run. This makes one: `{make} --data SOURCE`"])]
    columns: dict[tuple[str, str], list[tuple[Found, Measured]]] = {}
    for file, result in found:
        test = result.data.get("test") or {}
        # The same protocol on other images is another column too.
        key = (result.protocol, f"{test.get('source', 'unknown test images')}{_hash(test)} ({result.split})")
        columns.setdefault(key, []).append((file, result))
    tables = [_scores(protocol, test, rows) for (protocol, test), rows in columns.items()]
    intro = "Each table is one protocol on one set of test images. In brackets are intervals of 95 %."
    return [
        Section("Evaluations", [intro, *tables]),
        *by_size,
        *(_evaluation(file, result) for file, result in found),
    ]


def _hash(test: Mapping[str, Any]) -> str:
    return f" {test['hash']}" if test.get("hash") else ""


def _scores(protocol: str, test: str, found: Sequence[tuple[Found, Measured]]) -> Table:
    rows = [
        [
            file.name + (", untrained tower" if result.random_backbone else ""),
            *_figures(result).values(),
            f"{result.train_images:,}",
            result.init,
            str(result.seed),
        ]
        for file, result in found
    ]
    first = found[0][1]
    columns = ["evaluation", *_figures(first), "training images", "init", "seed"]
    rival = f"{first.rival.capitalize()}: {first.chance:.1%}"
    return Table(columns, rows, f"{protocol}. Test images: {test}. {rival}.")


def _figures(result: Measured) -> dict[str, str]:
    """The figures of a row, by column."""
    if isinstance(result, MultiLabelEvaluation):
        return {
            "macro mAP": _figure(result.figure, result.interval),
            "micro mAP": _figure(result.micro_map, result.micro_map_interval),
            "weighted mAP": _figure(result.weighted_map, result.weighted_map_interval),
            "zero-shot macro mAP": _figure(result.zero_shot, None),
        }
    if isinstance(result, TaggerEvaluation):
        return {
            "macro F1": _figure(result.figure, result.interval),
            "micro F1": _figure(result.each.micro_f1, result.each.micro_f1_interval),
            "macro F1 of one threshold for all": _figure(result.one.macro_f1, result.one.macro_f1_interval),
            "macro mAP": _figure(result.macro_map, None),
        }
    assert isinstance(result, Evaluation)
    return {
        "top-1": _figure(result.figure, result.interval),
        "top-5": _figure(result.acc5, result.acc5_interval),
        "mean recall": _figure(result.mean_per_class_recall, result.mean_per_class_recall_interval),
        "zero-shot": _figure(result.zero_shot, result.zero_shot_interval),
    }


def _figure(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "–"
    if interval is None:
        return f"{value:.1%}"
    low, high = interval
    return f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def _train_sizes(found: Found, result: TrainSizes) -> Section:
    control = ", untrained tower" if result.random_backbone else ""
    tables = [_sizes_table(result, name) for name in dict.fromkeys(s.protocol for s in result.by_train_size)]
    figure = Figure(
        lambda: train_sizes(
            result.by_train_size, zero_shot=result.zero_shot_acc1, chance=result.majority_share
        )
    )
    parts: list[Part] = [figure, *tables]
    if result.zero_shot_acc1 is not None:
        parts.append(f"Without any label {result.zero_shot_acc1:.1%} are recognised.")
    return Section(f"{found.name}{control}", [*parts, found.beside()])


def _sizes_table(result: TrainSizes, protocol: str) -> Table:
    rows = [
        [
            score.train_size,
            f"{score.train_images:,}",
            score.init,
            _figure(score.acc1, score.acc1_interval),
            str(score.seeds),
        ]
        for score in result.by_train_size
        if score.protocol == protocol
    ]
    told = result.protocol if protocol == "fast" else f"Linear probe by training, protocol {protocol}"
    caption = f"{told}. Test images: {result.split}. Intervals of 95 % over the seeds."
    return Table(["train size", "images", "init", "top-1", "seeds"], rows, caption)


def _evaluation(found: Found, result: Measured) -> Section:
    control = ", untrained tower" if result.random_backbone else ""
    parts: list[Part] = [_told(result)]
    if found.metrics:
        parts.append(Figure(lambda: loss(found.metrics, found.recipe, title="Fine-tuning loss")))
    if isinstance(result, MultiLabelEvaluation):
        parts += [_precisions(result)] if result.per_class else []
    elif isinstance(result, TaggerEvaluation):
        parts.append(_tags(result))
    elif found.predictions is None:
        parts.append(f"There is no `{FILE}`, or none that can be read. A new evaluation writes one.")
    else:
        said = found.predictions
        shown = [pictures(found.mistakes)] if found.mistakes else []
        parts += [said.confusion_table(), *shown, said.recall_table(), said.mistakes_table()]
    return Section(f"{found.name}{control}", [*parts, found.beside(FILE, METRICS)])


def _told(result: Measured) -> str:
    figure = f"{result.protocol}: {_figure(result.figure, result.interval)}"
    if isinstance(result, MultiLabelEvaluation):
        return (
            f"{figure} is the mean average precision over the classes of {result.test_images:,} test images, "
            f"which have {result.labels_per_image:.1f} of {result.classes:,} labels each on average. Answers "
            f"at random have {result.chance:.1%}."
        )
    if isinstance(result, TaggerEvaluation):
        low, high = result.gain_interval
        return (
            f"{figure} is the macro F1 of {result.measured_classes:,} labels. Thresholds of their own are "
            f"worth {100 * result.gain:.1f} points ({100 * low:.1f} to {100 * high:.1f}) over one for all."
        )
    return (
        f"{figure} of {result.test_images:,} test images of {result.classes:,} classes are recognised. The "
        f"largest class alone is {result.chance:.1%}."
    )


def _precisions(result: MultiLabelEvaluation) -> Table:
    """Average precision of each class, the worst first; of many classes the worst and the best."""
    found = [(one, one.average_precision) for one in result.per_class if one.average_precision is not None]
    found.sort(key=lambda row: (row[1], row[0].label))
    caption = "Average precision of each class, the worst first."
    if len(found) > MOST_CLASSES:
        left_out, half = len(found) - MOST_ROWS, MOST_ROWS // 2
        found = found[:half] + found[-half:]
        caption += f" {left_out:,} classes between the worst {half} and the best {half} are left out."
    if result.empty_classes:
        caption += f" {result.empty_classes:,} classes have no test image."
    rows = [[one.label, f"{one.images:,}", Cell(f"{value:.1%}", value)] for one, value in found]
    return Table(["class", "test images", "average precision"], rows, caption)


def _tags(result: TaggerEvaluation) -> Table:
    """F1 of each label, the worst first; of many labels the worst and the best."""
    found = sorted(result.per_class, key=lambda one: (one.f1, one.label))
    caption = "Labels of the tagger, the worst first."
    if len(found) > MOST_CLASSES:
        left_out, half = len(found) - MOST_ROWS, MOST_ROWS // 2
        found = found[:half] + found[-half:]
        caption += f" {left_out:,} labels between the worst {half} and the best {half} are left out."
    rows = [
        [one.label, f"{one.images:,}", f"{one.threshold:.3g}", Cell(f"{one.f1:.1%}", one.f1)] for one in found
    ]
    return Table(["label", "test images", "threshold", "F1"], rows, caption)
