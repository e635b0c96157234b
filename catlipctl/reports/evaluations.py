"""Evaluations on the page: figures by protocol, and what each confuses."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from catlipctl.reports.findings import Evaluation, Findings, Found, Interval
from catlipctl.reports.logs import METRICS
from catlipctl.reports.page import Figure, Part, Section, Table
from catlipctl.reports.predictions import FILE
from catlipctl.reports.train_sizes import TrainSizes, train_sizes
from catlipctl.reports.training import loss


def evaluations(findings: Findings) -> list[Section]:
    """A table of each protocol on each set of test images, then a section of each evaluation."""
    found = findings.of(Evaluation)
    by_size = [_train_sizes(file, result) for file, result in findings.of(TrainSizes)]
    if not found:
        if not findings.runs or by_size:
            return by_size
        make = shlex.join(["catlipctl", "eval", "lp", "--checkpoint", str(findings.runs[0].path)])
        return [Section("Evaluations", [f"None lies under the run. This makes one: `{make} --data SOURCE`"])]
    columns: dict[tuple[str, str], list[tuple[Found, Evaluation]]] = {}
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


def _scores(protocol: str, test: str, found: Sequence[tuple[Found, Evaluation]]) -> Table:
    rows = [
        [
            file.name + (", untrained tower" if result.random_backbone else ""),
            _figure(result.acc1, result.acc1_interval),
            _figure(result.acc5, result.acc5_interval),
            _figure(result.mean_per_class_recall, result.mean_per_class_recall_interval),
            _figure(result.zero_shot_acc1, result.zero_shot_acc1_interval),
            f"{result.train_images:,}",
            result.init,
            str(result.seed),
        ]
        for file, result in found
    ]
    columns = ["evaluation", "top-1", "top-5", "mean recall", "zero-shot", "training images", "init", "seed"]
    largest = found[0][1].majority_share
    return Table(columns, rows, f"{protocol}. Test images: {test}. Largest class: {largest:.1%}.")


def _figure(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "–"
    if interval is None:
        return f"{value:.1%}"
    low, high = interval
    return f"{value:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def _train_sizes(found: Found, result: TrainSizes) -> Section:
    control = ", untrained tower" if result.random_backbone else ""
    rows = [
        [
            score.train_size,
            f"{score.train_images:,}",
            score.init,
            _figure(score.acc1, score.acc1_interval),
            str(score.seeds),
        ]
        for score in result.by_train_size
    ]
    caption = f"{result.protocol}. Test images: {result.split}. Intervals of 95 % over the seeds."
    figure = Figure(
        lambda: train_sizes(
            result.by_train_size, zero_shot=result.zero_shot_acc1, chance=result.majority_share
        )
    )
    parts: list[Part] = [figure, Table(["train size", "images", "init", "top-1", "seeds"], rows, caption)]
    if result.zero_shot_acc1 is not None:
        parts.append(f"Without any label {result.zero_shot_acc1:.1%} are recognised.")
    return Section(f"{found.name}{control}", [*parts, found.beside()])


def _evaluation(found: Found, result: Evaluation) -> Section:
    control = ", untrained tower" if result.random_backbone else ""
    parts: list[Part] = [
        f"{result.protocol}: {_figure(result.acc1, result.acc1_interval)} of {result.test_images:,} test "
        f"images of {result.classes:,} classes are recognised. The largest class alone is "
        f"{result.majority_share:.1%}."
    ]
    if found.metrics:
        parts.append(Figure(lambda: loss(found.metrics, found.recipe, title="Fine-tuning loss")))
    said = found.predictions
    if said is None:
        parts.append(f"There is no `{FILE}`, or none that can be read. A new evaluation writes one.")
    else:
        parts += [said.confusion_table(), said.recall_table(), said.mistakes_table()]
    return Section(f"{found.name}{control}", [*parts, found.beside(FILE, METRICS)])
