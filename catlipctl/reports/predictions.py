"""What a classifier said of each test image: confusion, recall of each class, its surest mistakes.

Read from the `predictions.csv` that an evaluation leaves: sample, truth, predicted, probability.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from catlipctl.errors import DataError
from catlipctl.files import FileKind
from catlipctl.reports.page import Cell, Table

FILE = "predictions.csv"
KIND = FileKind("predictions", 2**30, DataError, "run the evaluation again")
MOST_CLASSES = 25
"""Of a confusion matrix that can be read; of more classes, the pairs that are confused most are told."""
MOST_ROWS = 20


class Prediction(NamedTuple):
    """One test image: its name or number, its true label, the most probable label and its probability."""

    sample: str
    truth: str
    predicted: str
    probability: float


class ClassRecall(NamedTuple):
    """A class: its test images, the share that were recognised, and what the others were mostly taken for."""

    name: str
    images: int
    recall: float
    taken_for: str
    times: int


@dataclass(frozen=True)
class Predictions:
    """All test images of one evaluation."""

    rows: Sequence[Prediction]

    @cached_property
    def classes(self) -> list[str]:
        """All labels, true and predicted, by name."""
        return sorted({name for row in self.rows for name in (row.truth, row.predicted)})

    @cached_property
    def confusion(self) -> Counter[tuple[str, str]]:
        """How many images of a true label (first) were given a label (second)."""
        return Counter((row.truth, row.predicted) for row in self.rows)

    @cached_property
    def recalls(self) -> list[ClassRecall]:
        """Of each class that has test images, the worst first."""
        said: dict[str, Counter[str]] = defaultdict(Counter)
        for (truth, predicted), count in sorted(self.confusion.items()):
            said[truth][predicted] += count
        found = []
        for name, counts in said.items():
            images, right = counts.total(), counts.pop(name, 0)
            other, times = counts.most_common(1)[0] if counts else ("", 0)
            found.append(ClassRecall(name, images, right / images, other, times))
        return sorted(found, key=lambda row: (row.recall, row.name))

    def confusion_table(self) -> Table:
        """The whole matrix of few classes; of many, the pairs that are confused most."""
        if len(self.classes) <= MOST_CLASSES:
            totals = {row.name: row.images for row in self.recalls}
            rows = [
                [truth, *(self._cell(truth, said, totals[truth]) for said in self.classes)]
                for truth in self.classes
                if truth in totals
            ]
            caption = "Confusion: images of the class of the row that were taken for that of the column."
            return Table(["", *self.classes], rows, caption, matrix=True)
        mistakes = [(pair, count) for pair, count in self.confusion.items() if pair[0] != pair[1]]
        mistakes.sort(key=lambda item: (-item[1], item[0]))
        caption = f"The {min(MOST_ROWS, len(mistakes))} most confused pairs of {len(mistakes):,}."
        rows = [[truth, said, f"{count:,}"] for (truth, said), count in mistakes[:MOST_ROWS]]
        return Table(["truth", "taken for", "images"], rows, caption)

    def recall_table(self) -> Table:
        """Recall of each class, the worst first; of many classes the worst and the best."""
        recalls, left_out = self.recalls, 0
        if len(recalls) > MOST_CLASSES:
            worst = 3 * MOST_ROWS // 4
            left_out = len(recalls) - MOST_ROWS
            recalls = recalls[:worst] + recalls[worst - MOST_ROWS :]
        rows = [
            [
                row.name,
                f"{row.images:,}",
                Cell(f"{row.recall:.1%}", row.recall),
                f"{row.taken_for} ({row.times:,})" if row.times else "",
            ]
            for row in recalls
        ]
        caption = "Recall of each class, the worst first."
        if left_out:
            caption += f" {left_out:,} classes between the worst {worst} and the best are left out."
        return Table(["class", "test images", "recall", "mostly taken for"], rows, caption)

    def mistakes_table(self) -> Table:
        """The surest mistakes."""
        wrong = [row for row in self.rows if row.truth != row.predicted]
        wrong.sort(key=lambda row: (-row.probability, row.sample))
        caption = f"The surest of {len(wrong):,} mistakes in {len(self.rows):,} test images."
        rows = [[*row[:3], f"{row.probability:.1%}"] for row in wrong[:MOST_ROWS]]
        return Table(["sample", "truth", "taken for", "probability"], rows, caption)

    def _cell(self, truth: str, said: str, total: int) -> Cell:
        count = self.confusion[truth, said]
        return Cell(f"{count:,}" if count else "", count / total)


def read(path: Path) -> Predictions:
    """The predictions in a file; DataError where it is none."""
    try:
        rows = [
            Prediction(row["sample"], row["truth"], row["predicted"], float(row["probability"]))
            for row in KIND.read_table(path, Prediction._fields)
        ]
    except ValueError as error:
        raise KIND.refused(path, f"probability: {error}") from error
    if not rows:
        raise KIND.refused(path, "it has no rows")
    return Predictions(rows)
