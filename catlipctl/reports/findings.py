"""What a report is made from: the files of runs and of results, read and nothing else."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from catlipctl import recipe as recipes
from catlipctl import vocabulary as vocabularies
from catlipctl.bench.result import LabelsBenchmark, LoaderBenchmark
from catlipctl.bench.step_result import StepBenchmark
from catlipctl.errors import CatlipctlError, DataError, UsageError
from catlipctl.files import FileKind
from catlipctl.reports import mistakes, predictions
from catlipctl.reports.logs import (
    EVALUATIONS,
    METRICS,
    STARTS,
    Evaluated,
    JsonObject,
    Logged,
    evaluated,
    logged,
    rows,
)
from catlipctl.reports.measured import Evaluation, Measured, MultiLabelEvaluation, TaggerEvaluation
from catlipctl.reports.mistakes import Mistake
from catlipctl.reports.page import Link, Links
from catlipctl.reports.predictions import Predictions
from catlipctl.reports.train_sizes import TrainSizes
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import Overlaps

T = TypeVar("T")
D = TypeVar("D")
M = TypeVar("M", bound=BaseModel)

RESULT = "result.json"
RECIPE = "recipe.yaml"
ACCOUNTS = "transfer/*/account.csv"
KIND = FileKind(
    "a result",
    256 * 2**20,  # one with 21,000 classes is some megabytes
    DataError,
    "name a run, or a JSON file that an evaluation or a benchmark of catlipctl left",
)
ACCOUNT = FileKind("an account of Transfer Init", 2**28, DataError, "")
UNDER_A_RUN = (f"eval/*/{RESULT}", f"overlap-*/{RESULT}", "bench/*.json")


KINDS: dict[str, type[BaseModel]] = {
    "acc1": Evaluation,
    "all_told": TaggerEvaluation,
    "macro_map": MultiLabelEvaluation,
    "by_train_size": TrainSizes,
    "overlaps": Overlaps,
    "cases": StepBenchmark,
    "passes": LabelsBenchmark,
    "chunk": LoaderBenchmark,
}
"""A field that only one kind of result has -> how that is read."""


class Model(BaseModel):
    """A recipe's tower."""

    name: str | None = None
    image_size: int | None = None


class Data(BaseModel):
    """A recipe's sources."""

    sources: list[str] = []


class Optimiser(BaseModel):
    """A recipe's highest learning rate."""

    lr: float | None = None
    lr_per: int | None = None


class Schedule(BaseModel):
    """A recipe's warm-up."""

    warmup_steps: int | None = None
    warmup_share: float | None = None


class RunLength(BaseModel):
    """A recipe's length, where it is told in steps."""

    steps: int | None = None


class RunRecipe(BaseModel):
    """What a report reads of a run's recipe.yaml."""

    objective: str | None = None
    length: RunLength = RunLength()
    model: Model = Model()
    data: Data = Data()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()


@dataclass(frozen=True)
class Found:
    """One result file, and what lies beside it.

    document: as it is written: what it does not say is not known. predictions: of an evaluation of
    classes that exclude each other; None where an earlier version left none. mistakes: pictures of some of
    its test images. metrics: of one that trained.
    """

    path: Path
    document: Mapping[str, Any]
    result: BaseModel
    predictions: Predictions | None = None
    mistakes: Sequence[Mistake] = ()
    metrics: Sequence[Logged] = ()
    recipe: RunRecipe | None = None

    @property
    def name(self) -> str:
        """Of the folder, where that holds one result."""
        return self.path.parent.name if self.path.name == RESULT else self.path.stem

    def beside(self, *names: str) -> Links:
        """Ways to the file, and to those of these names beside it."""
        return Links([Link(name, self.path.with_name(name)) for name in (self.path.name, *names)])


@dataclass(frozen=True)
class RunFiles:
    """A pre-training run. accounts: of Transfer Init, how many labels were met in each way, by path."""

    path: Path
    recipe: RunRecipe
    recipe_text: str
    metrics: Sequence[Logged]
    evaluated: Sequence[Evaluated]
    starts: Sequence[Mapping[str, Any]]
    vocabulary: Vocabulary | None
    accounts: Mapping[Path, Mapping[str, int]]


@dataclass
class Findings:
    """Runs and results; faults: files that lie under a run and cannot be read."""

    runs: list[RunFiles] = field(default_factory=list)
    results: list[Found] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def of(self, kind: type[T]) -> list[tuple[Found, T]]:
        """The results of one kind."""
        return [(found, found.result) for found in self.results if isinstance(found.result, kind)]

    def attempt(self, read: Callable[[Path], T], path: Path, otherwise: D) -> T | D:
        """What `read` makes of the file, or `otherwise` where there is none, or with its fault noted."""
        try:
            return read(path) if path.is_file() else otherwise
        except CatlipctlError as error:
            if error.message not in self.faults:
                self.faults.append(error.message)
            return otherwise


def find(paths: Sequence[Path]) -> Findings:
    """What lies at the paths: runs with all evaluations under them, results, folders of results.

    A result that is named and cannot be read is a DataError; what lies under a run or beside a result is
    passed over as a fault.
    """
    findings = Findings()
    for path in paths:
        if path.is_dir() and not (path / RESULT).is_file() and is_run(path):
            findings.runs.append(_run(findings, path))
            under = (file for pattern in UNDER_A_RUN for file in sorted(path.glob(pattern)))
            read = [findings.attempt(result, file, None) for file in under]
        else:
            read = [result(file) for file in _named(path)]
        findings.results += [_with_its_files(findings, found) for found in read if found is not None]
    findings.results = list({found.path.resolve(): found for found in findings.results}.values())
    return findings


def result(path: Path) -> Found:
    """A result file of any kind; DataError where it is none."""
    document = KIND.read_json(path, JsonObject).root
    kind = next((KINDS[name] for name in KINDS if name in document), None)
    if kind is None:
        raise KIND.refused(path, "it has no figure that an evaluation or a benchmark measures")
    # A later version may have written more fields.
    read = {
        name: document[name] for name in document if issubclass(kind, Measured) or name in kind.model_fields
    }
    return Found(path, document, _validated(kind, read, path, KIND.hint))


def recipe(path: Path) -> RunRecipe:
    """A run's recipe.yaml; UsageError or DataError where it is none."""
    return _validated(RunRecipe, recipes.read(path), path, "")


def _validated(kind: type[M], document: Any, path: Path, hint: str) -> M:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise DataError(f"{path}: {where}: {fault['msg']}", hint) from error


def is_run(path: Path) -> bool:
    """Whether a run has left checkpoints or rows in a folder."""
    return (path / "checkpoints").is_dir() or (path / METRICS).is_file()


def _named(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / RESULT).is_file():
        return [path / RESULT]
    inside = sorted(path.glob("*.json"))
    if not inside:
        raise UsageError(f"no run and no result at {path}", "name a run such as runs/demo, or a result.json")
    return inside


def _run(findings: Findings, path: Path) -> RunFiles:
    accounts = {file: findings.attempt(_account, file, {}) for file in sorted(path.glob(ACCOUNTS))}
    return RunFiles(
        path=path,
        recipe=findings.attempt(recipe, path / RECIPE, RunRecipe()),
        recipe_text=findings.attempt(lambda file: recipes.written(str(file)).text, path / RECIPE, ""),
        metrics=logged(path / METRICS),
        evaluated=evaluated(path / EVALUATIONS),
        starts=rows(path / STARTS),
        vocabulary=findings.attempt(vocabularies.load, path / "vocabulary.json", None),
        accounts={file: counts for file, counts in accounts.items() if counts},
    )


def _with_its_files(findings: Findings, found: Found) -> Found:
    if not isinstance(found.result, Measured):
        return found
    beside = found.path.with_name
    exclusive = isinstance(found.result, Evaluation)
    return replace(
        found,
        predictions=findings.attempt(predictions.read, beside(predictions.FILE), None) if exclusive else None,
        mistakes=findings.attempt(mistakes.read, beside(mistakes.FILE), []) if exclusive else [],
        metrics=logged(beside(METRICS)),
        recipe=findings.attempt(recipe, beside(RECIPE), None),
    )


def _account(path: Path) -> dict[str, int]:
    return dict(Counter(row["how"] for row in ACCOUNT.read_table(path, ["how"])))
