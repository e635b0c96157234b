"""The tables and lines of `catlipctl bench step`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.bench.result import Ratio, Spread
    from catlipctl.bench.step_result import StepBenchmark, StepCase


def tables(result: "StepBenchmark") -> "list[Table]":
    """Of each case: speed, phases, parts, sizes, and what its estimates are."""
    return [shown for case in result.cases for shown in _of_case(result, case)]


def _of_case(result: "StepBenchmark", case: "StepCase") -> "Iterator[Table]":
    yield _speed(result, case)
    first = case.rows[0]
    yield _times("forward, backward: ms", case, {row.name: row.phases for row in case.rows}, first.phases)
    ours = {row.name: row.parts for row in case.ours()}
    yield _times("where it goes: ms", case, ours, next(iter(ours.values())))
    yield _sizes(case)
    if any(row.host for row in case.rows):
        yield _host(case)
    if case.explained:
        yield _explained(case)
    if any(row.traffic for row in case.rows):
        yield _traffic(case)
    if len(case.estimates) > len(case.ours()) or case.estimates[0].processes > 1:
        yield _estimates(case)


def _speed(result: "StepBenchmark", case: "StepCase") -> "Table":
    first = case.rows[0].name
    share = "MFU" if case.device.peak else "of a product"
    of_cores = result.clock == "core time"
    unit = "step, ms of core time" if of_cores else "step, ms"
    speed = "images a\ncore-s" if of_cores else "images/s"
    headings = (unit, "quartiles", speed, share, f"times {first}", "95 %")
    shown = table("", *headings, numbers=headings, title=_title(result, case))
    for row in case.rows:
        ratio = case.ratios.get(row.name)
        shown.add_row(
            row.name,
            _ms(row.step.median),
            f"{_ms(row.step.low)} to {_ms(row.step.high)}",
            f"{row.images_per_second:,.1f}",
            f"{row.utilisation:.1%}",
            "" if ratio is None else f"{ratio.median:.3f}",
            "" if ratio is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
        )
    return shown


def _times(
    title: str, case: "StepCase", rows: "dict[str, dict[str, Spread]]", names: "dict[str, Spread]"
) -> "Table":
    shown = table(title, *names, numbers=list(names))
    for row in case.rows:
        if row.name in rows:
            found = rows[row.name]
            shown.add_row(row.name, *(_ms(found[name].median) if name in found else "" for name in names))
    return shown


def _sizes(case: "StepCase") -> "Table":
    headings = (
        "parameters, M",
        "GFLOPs: image",
        "text",
        "head, loss",
        "a sample",
        "peak, MiB",
        "of it state",
    )
    shown = table("what it takes", *headings, numbers=headings)
    for row in case.rows:
        peak = row.peak_memory_bytes
        parts = (row.flops.get(name, 0) / 1e9 for name in ("image tower", "text tower", "head and loss"))
        shown.add_row(
            row.name,
            f"{row.parameters / 1e6:,.1f}",
            *(f"{number:,.3g}" if row.kind == "ours" else "" for number in parts),
            f"{row.flops_per_sample / 1e9:,.4g}",
            "" if peak is None else f"{peak / 2**20:,.0f}",
            "" if peak is None else f"{row.state_bytes / 2**20:,.0f}",
        )
    return shown


def _host(case: "StepCase") -> "Table":
    headings = ("us of a core a caption", "met before", "ms a batch")
    shown = table("captions on the host", *headings, "what of them", numbers=headings)
    for row in case.rows:
        if (host := row.host) is not None:
            batch = f"{1e3 * host.first * case.batch_size:,.2f}"
            shown.add_row(row.name, f"{1e6 * host.first:,.0f}", f"{1e6 * host.again:,.0f}", batch, host.makes)
    return shown


def _explained(case: "StepCase") -> "Table":
    names = list(dict.fromkeys(name for shares in case.explained.values() for name in shares))
    shown = table("what the ratio is made of", *names, "ratio", numbers=[*names, "ratio"])
    for name, shares in case.explained.items():
        parts = (f"{shares[part]:+.3f}" if part in shares else "" for part in names)
        shown.add_row(f"{name}: 1 and", *parts, f"{case.ratios[name].median:.3f}")
    return shown


def _traffic(case: "StepCase") -> "Table":
    headings = ("MB a step", "alone, ms", "predicted, ms", "predicted / alone")
    shown = table("what a process sends", *headings, "of it gradients", numbers=headings)
    for row in case.rows:
        if (traffic := row.traffic) is not None:
            sent = sum(traffic.sent.values())
            shown.add_row(
                row.name,
                f"{sent / 1e6:,.2f}",
                _ms(traffic.alone.median),
                _ms(traffic.predicted),
                f"{traffic.predicted / traffic.alone.median:.2f}",
                f"{traffic.sent['gradients'] / sent:.1%}",
            )
    return shown


def _estimates(case: "StepCase") -> "Table":
    headings = (
        "devices",
        "nodes",
        "images each",
        "compute, ms",
        "sending, ms",
        "waited, ms",
        "hours",
        "ratio",
    )
    shown = table("estimated", *headings, numbers=headings)
    for one in case.estimates:
        shown.add_row(
            one.name,
            f"{one.processes:,}",
            f"{one.nodes:,}",
            f"{one.rows:,}",
            _ms(one.compute),
            _ms(one.communication),
            _ms(one.waited),
            f"{one.hours:,.0f}",
            f"{one.ratio:.3f}",
        )
    return shown


def lines(result: "StepBenchmark") -> list[str]:
    """The three answers of each case, plain steps, and what the tables are of."""
    found = [line for case in result.cases for line in _answers(result, case)]
    case = result.cases[0]
    peak = case.device.peak_of or "what a large matrix product reaches here, measured: it has no stated peak"
    flags = {
        "compiled": result.compiled,
        "activations computed again": result.activation_checkpointing,
        "EMA": result.ema,
    }
    told = "".join(f", {name}" for name, on in flags.items() if on)
    found += [
        "",
        f"{len(case.rows[0].steps)} steps of each, in turns; medians, with quartiles or 95 % intervals of "
        f"ratios of pairs by bootstrap. AdamW on all sides{told}, {_device(result)}.",
        *(
            ["Seconds are of all cores together, whatever else runs here."]
            if result.clock == "core time"
            else []
        ),
        f"Utilisation is of {(case.device.peak or case.device.products) / 1e12:,.3g} TFLOP/s: {peak}.",
        "Images, labels and tokens are made up; no data is loaded."
        + (f" The host's work is timed on {result.captions}." if result.captions else ""),
    ]
    if result.network is not None:
        found.append(_link("Links between the processes", result.network.bandwidth, result.network.latency))
    if any(one.processes > 1 for one in case.estimates):
        found += [
            _link(f"Estimated with links {place} nodes ({link.source})", link.bandwidth, link.latency)
            for place, link in result.assumed.items()
        ]
    if result.compiled:
        found.append(f"Compiled again while steps were timed: {case.recompiled} times.")
    return found


def _answers(result: "StepBenchmark", case: "StepCase") -> list[str]:
    place = "" if len(result.cases) == 1 else f" [{_title(result, case)}]"
    found = [""]
    for letter, answer in case.answers.items():
        ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in answer.ratios.items())
        times = f"; times {case.rows[0].name}: {ratios}" if ratios else ""
        if letter == "a":
            ratios = ", ".join(f"{name} {_interval(ratio)}" for name, ratio in case.ratios.items())
            times = f"; times {case.rows[0].name}: {ratios}" if ratios else ""
        hint = "" if answer.how != "not measured" else " (--find-batch-size, on a GPU)"
        found.append(f"({letter}) {answer.how}{hint}: {answer.text}{times}{place}")
    for ours, ratio in case.plain.items():
        plain = next(
            row.name for row in case.rows if row.kind == "plain" and row.objective == ours.split(",")[0]
        )
        found.append(f"{plain} step / our {ours} step = {_interval(ratio)}")
    return found


def _interval(ratio: "Ratio") -> str:
    return f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _link(name: str, bandwidth: float, latency: float) -> str:
    return f"{name}: {bandwidth / 1e9:,.3g} GB/s, {1e6 * latency:,.3g} us a message."


def _ms(seconds: float) -> str:
    ms = 1000 * seconds
    return f"{ms:,.0f}" if ms >= 1000 else f"{ms:,.1f}" if ms >= 1 else f"{ms:.2g}"


def _title(result: "StepBenchmark", case: "StepCase") -> str:
    each = f"{result.processes} x {case.batch_size}" if result.processes > 1 else str(case.batch_size)
    return f"{case.model.rpartition('/')[2]}, {case.image_size} px, {case.precision}, {each} images"


def _device(result: "StepBenchmark") -> str:
    names = result.machine["accelerators"]
    if result.device == "cpu" or not names:
        threads = result.machine["threads"]
        return f"CPU with {threads} thread{'s' if threads > 1 else ''}"
    return str(names[0])
