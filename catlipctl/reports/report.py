"""The page of one's own runs and evaluations: its sections, from what was found."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from catlipctl import checkpoints, files
from catlipctl.bench.result import LabelsBenchmark, LoaderBenchmark
from catlipctl.bench.step_result import StepBenchmark
from catlipctl.labels.targets import HOWS
from catlipctl.reports.curves import curves, of
from catlipctl.reports.evaluations import evaluations
from catlipctl.reports.findings import RECIPE, Findings, Found, RunFiles, find
from catlipctl.reports.logs import METRICS, Logged
from catlipctl.reports.overlap import coverage, overlap
from catlipctl.reports.page import Figure, Folded, Link, Links, Part, Section, Table, page
from catlipctl.reports.provenance import provenance
from catlipctl.reports.step import step
from catlipctl.reports.throughput import labels, loader
from catlipctl.reports.training import loss, smoothed
from catlipctl.reports.vocabulary import label_frequencies
from catlipctl.results import Result
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import Overlaps

COMMONEST = 10


class Report(Result):
    """A page that was written: its path, its sections' titles, and what it was made from."""

    path: str
    sections: list[str]
    runs: list[str]
    results: list[str]
    faults: list[str]


def report(paths: Sequence[Path], out: Path | None = None) -> Report:
    """Write one page of what lies at the paths, to `out` or a new `report.html` in the first run or here.

    Raises UsageError or DataError for a path that is no run and no result, MachineError without matplotlib.
    """
    findings = find(paths)
    if out is None:
        folder = findings.runs[0].path if findings.runs else Path()
        out = unused(folder)
    made = sections(findings)
    write(out, ", ".join(map(str, paths)), made)
    return Report(
        path=str(out),
        sections=[section.title for section in made],
        runs=[str(run.path) for run in findings.runs],
        results=[str(found.path) for found in findings.results],
        faults=findings.faults,
    )


def unused(folder: Path) -> Path:
    """Where a new page of what lies in the folder goes: `report.html`, or the next free number's."""
    stem = files.unused(folder / "report", (".html",))
    return stem.with_name(f"{stem.name}.html")


def write(path: Path, title: str, made: Sequence[Section]) -> None:
    """Write sections as one page; its links are relative to where it lies."""
    files.write_text(path, page(title, made, path.parent))


def sections(findings: Findings) -> list[Section]:
    """All that was found, in the order of the work: training, labels, overlap, transfer, evaluations,
    benchmarks, and how it was made.
    """
    made = [section for run in findings.runs for section in _run(run, several=len(findings.runs) > 1)]
    made += _overlaps(findings)
    made += [_transfer_init(run) for run in findings.runs if run.accounts]
    made += evaluations(findings)
    made += _benchmarks(findings)
    if findings.faults:
        made.append(Section("What could not be read", ["\n\n".join(findings.faults)]))
    return [*made, provenance(findings)]


def _run(run: RunFiles, *, several: bool) -> list[Section]:
    of = f" of {run.path}" if several else ""
    made = [Section(f"Pre-training{of}", _training(run))]
    if run.vocabulary is not None:
        made.append(Section(f"Labels from captions{of}", _labels(run, run.vocabulary)))
    return made


def _training(run: RunFiles) -> list[Part]:
    if not run.metrics:
        return [f"`{run.path}` has logged no step yet.", _ways(run)]
    first, last = run.metrics[0], run.metrics[-1]
    ends = smoothed([row.loss for row in run.metrics])
    model = run.recipe.model
    facts = {
        "run": str(run.path),
        "objective": run.recipe.objective,
        "tower": f"{model.name} at {model.image_size} px" if model.name else None,
        "data": ", ".join(run.recipe.data.sources),
        "length": f"{last.step:,} steps, {last.samples:,} images, {last.epoch:.4g} epochs",
        "loss": f"{first.loss:.4g} at first, {last.loss:.4g} at last, {ends[-1]:.4g} smoothed",
        "speed": f"{last.samples / last.seconds:,.0f} images/s, {last.seconds:,.0f} s in all"
        if last.seconds
        else None,
        "held-out pairs": run.evaluated[-1].told() if run.evaluated else None,
        "images without a label": _share(_unlabelled(run.metrics)),
        "unreadable images, replaced": f"{last.replaced:,}",
        "steps skipped, not finite": f"{last.skipped:,}" if last.skipped else None,
    }
    measured = of((), run.evaluated)
    validation = Figure(lambda: curves({str(run.path): measured}, "Held-out pairs on the way"))
    return [
        Figure(lambda: loss(run.metrics, run.recipe)),
        _facts(facts),
        *[validation] * bool(measured),
        _ways(run),
        *[Folded("The whole recipe", run.recipe_text)] * bool(run.recipe_text),
    ]


def _unlabelled(rows: Sequence[Logged]) -> float | None:
    """The share of the images seen whose captions gave no label: a row tells of those since the last row."""
    before, without = 0, 0.0
    for row in rows:
        if row.unlabelled is None:
            return None
        without += row.unlabelled * (row.samples - before)
        before = row.samples
    return without / max(before, 1)


def _ways(run: RunFiles) -> Links:
    ways = [
        Link("recipe", run.path / RECIPE),
        Link("metrics", run.path / METRICS),
        Link("vocabulary", run.path / "vocabulary.json"),
    ]
    if (latest := checkpoints.latest(run.path)) is not None:
        ways.append(Link("newest checkpoint", latest))
    return Links(ways)


def _labels(run: RunFiles, vocabulary: Vocabulary) -> list[Part]:
    captions, without = vocabulary.captions, vocabulary.captions_without_label
    facts = {
        "classes": f"{len(vocabulary):,}, counted more than {vocabulary.threshold:,} times",
        "captions": None if captions is None else f"{captions:,}",
        "captions without a label": None
        if captions is None or without is None
        else f"{without:,} ({without / max(captions, 1):.1%})",
        "extractor": f"{vocabulary.extractor} {vocabulary.extractor_version}",
        "rarer labels, dropped": None if vocabulary.dropped_keys is None else f"{vocabulary.dropped_keys:,}",
    }
    names = vocabulary.descriptions()
    rows = [[names[i], vocabulary.keys[i], f"{vocabulary.counts[i]:,}"] for i in range(len(vocabulary))]
    return [
        _facts(facts),
        Figure(lambda: label_frequencies({str(run.path): vocabulary})),
        Table(["name", "key", "times counted"], rows[:COMMONEST], "The commonest labels."),
    ]


def _overlaps(findings: Findings) -> list[Section]:
    made = [_overlap(found, result) for found, result in findings.of(Overlaps)]
    if made or not any(run.vocabulary is not None for run in findings.runs):
        return made
    run = next(run for run in findings.runs if run.vocabulary is not None)
    make = shlex.join(["catlipctl", "vocab", "overlap", "--target", "imagenet", str(run.path)])
    text = f"No comparison with a label set lies under the run. This makes one, for the next report: `{make}`"
    return [Section("Overlap with a label set", [text])]


def _overlap(found: Found, result: Overlaps) -> Section:
    compared = {each.vocabulary: each for each in result.overlaps}
    said = [
        f"{each.exact:,} of the {each.classes:,} classes have all their synsets in `{name}`."
        for name, each in compared.items()
    ]
    parts: list[Part] = [
        " ".join(said) + " The others are as near as the steps show (CatLIP Figure 2b).",
        Figure(lambda: overlap(compared)),
        Figure(lambda: coverage(compared)),
    ]
    return Section(f"Overlap with {result.target}", [*parts, found.beside("matches.csv")])


def _transfer_init(run: RunFiles) -> Section:
    found = {how for counts in run.accounts.values() for how in counts}
    hows = [*(how for how in HOWS if how in found), *sorted(found - set(HOWS))]
    rows = []
    for path, counts in run.accounts.items():
        numbers = (counts.get(how, 0) for how in hows)
        rows.append([Link(path.parent.name, path), f"{sum(counts.values()):,}", *map("{:,}".format, numbers)])
    text = (
        "How each label's row of the new classifier was made from the pre-training classifier. The account "
        "behind each name says from which synsets."
    )
    return Section("Transfer Init", [text, Table(["account", "labels", *hows], rows)])


def _benchmarks(findings: Findings) -> list[Section]:
    made = []
    for found, stepped in findings.of(StepBenchmark):
        case = stepped.cases[0]
        about = f"{case.model}, {stepped.processes} x {case.batch_size} images, {case.precision}"
        phases, note = stepped.bars()
        draw = Figure(lambda phases=phases, about=about: step(phases, subtitle=about))  # type: ignore[misc]
        made.append(_benchmark("Training steps", found, note, draw))
    for found, made_labels in findings.of(LabelsBenchmark):
        text = f"{made_labels.captions:,} captions; x: times the reference."
        draw = Figure(lambda result=made_labels: labels(result.bars()))  # type: ignore[misc]
        made.append(_benchmark("Captions to labels", found, text, draw))
    for found, loaded in findings.of(LoaderBenchmark):
        draw = Figure(lambda result=loaded: loader(*result.bars()))  # type: ignore[misc]
        made.append(_benchmark("Shard to training images", found, "x: times webdataset.", draw))
    return made


def _benchmark(title: str, found: Found, text: str, figure: Figure) -> Section:
    return Section(f"{title}: {found.name}", [text, figure, found.beside()])


def _facts(facts: Mapping[str, str | None]) -> Table:
    return Table(["", ""], [[name, value] for name, value in facts.items() if value])


def _share(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%} of those seen"
