"""What `--dry-run` shows of a run: the recipe's values, what the run would be refused for, what it costs."""

from typing import TYPE_CHECKING

from catlipctl.cli.output import Output
from catlipctl.cli.tables import facts, table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from catlipctl.pretraining.checks import Place
    from catlipctl.pretraining.estimate import DryRun
    from catlipctl.recipe import Loaded
    from catlipctl.settings.pretraining import PretrainRecipe


def pretraining(out: Output, loaded: "Loaded[PretrainRecipe]", place: "Place", *, probed: bool) -> None:
    """Of a run of pre-training."""
    from catlipctl.pretraining.dry_run import dry_run

    result = dry_run(loaded, place, probed=probed, progress=out)
    if probed and result.probe is None:
        out.warn("no probe: this machine would refuse the run")
    show(out, result)


def show(out: Output, result: "DryRun") -> None:
    """Show all of it; then raise the first error that no other machine would mend."""
    for warning in result.warnings:
        out.warn(warning)
    shown: list[RenderableType] = [_values(result), *_sizes(result), _cost(result), *_refusals(result)]
    error = result.refused()
    out.result(result, *shown, error=error)
    if error is not None:
        raise error


def _values(result: "DryRun") -> "Table":
    values = table("key", "value", "from")
    for row in result.values:
        values.add_row(row.key, "null" if row.value is None else str(row.value), row.origin)
    return values


def _refusals(result: "DryRun") -> list[str]:
    if not result.refusals:
        counted = ""
        if result.vocabulary_size is None:
            counted = " Its vocabulary is yet to be counted: with too few labels it would end then."
        return [f"\nThis run would start here.{counted}"]
    lines = ["\nThis run would be refused here:"]
    for refusal in result.refusals:
        lines += [f"- {refusal.message} (exit {refusal.exit_code})", f"  {refusal.hint}"]
    return lines


def _cost(result: "DryRun") -> "Table":
    where = "one process" if result.processes == 1 else f"each of {result.processes} processes"
    each = f"{result.process_batch:,} images a step in {where}"
    if result.accumulation > 1:
        each += f", in {result.accumulation} pieces of {result.micro_batch:,}"
    if result.vocabulary_size is None or result.checkpoint_bytes is None:
        size = f"{result.parameters:,} + {result.parameters_per_class:,} a class, once they are counted"
        weight = "16 bytes a parameter" if _averaged(result) else "12 bytes a parameter"
    else:
        size = f"{result.parameters:,} with {result.vocabulary_size:,} outputs of the head"
        weight = f"{result.checkpoint_bytes / 2**20:,.1f} MiB"
    return facts(
        {
            "length": _length(result),
            "batch": each,
            "parameters": size,
            "of them learn": None if result.learned_parameters is None else f"{result.learned_parameters:,}",
            "checkpoint": weight,
            "operations": None
            if result.flops is None
            else f"{result.flops:.3g} (the tower, {_passes(result)})",
            "GPU-hours": None
            if result.gpu_hours is None
            else f"{digits(result.gpu_hours, 2)} of an H100 at {result.utilisation:.0%} of its "
            f"{result.peak_flops / 1e12:,.0f} TFLOP/s; estimated",
            "time": _time(result),
            "memory": _memory(result),
            "shared memory": f"up to {result.shared_memory_bytes / 2**20:,.0f} MiB in each process"
            if result.shared_memory_bytes
            else None,
            "validation": _validation(result),
            "probe": _probe(result),
        }
    )


def _passes(result: "DryRun") -> str:
    return "forward and backward" if result.learned_parameters is None else "forward alone"


def _time(result: "DryRun") -> str | None:
    if result.seconds is None:
        return None
    told = duration(result.seconds)
    if result.probe is not None:
        return f"{told}, by the probe"
    speed = f"{digits(result.device_flops / 1e12, 3)} TFLOP/s"
    rate = f"{result.utilisation:.0%} of {speed} ({result.device})"
    return f"{told} at {rate}, if the loader keeps up; estimated"


def _memory(result: "DryRun") -> str | None:
    if result.memory is None:
        return None
    parts = ", ".join(f"{name} {size / 2**30:,.2f}" for name, size in result.memory.items() if size)
    beside = "" if result.vocabulary_size is not None else ", without the classes"
    return f"{sum(result.memory.values()) / 2**30:,.2f} GiB in each process{beside} ({parts}); estimated"


def _validation(result: "DryRun") -> str | None:
    found = result.validation
    if found is None:
        return None
    told = f"{found.times:,} times {found.images:,} held-out images"
    if found.share is not None:
        told += f", {found.share:.2%} of the operations of training"
    if found.scores_bytes is not None:
        told += f"; scores of all classes take {found.scores_bytes / 2**20:,.0f} MiB in each process"
    return told


def _probe(result: "DryRun") -> str | None:
    found = result.probe
    if found is None:
        return None
    told = (
        f"{found.milliseconds:,.0f} ms a step of {found.images:,} images, "
        f"{found.images_per_second:,.0f} images/s, {found.waiting:.0%} of the time waiting for data, "
        f"{found.peak_memory_bytes / 2**30:,.2f} GiB at its peak"
    )
    if found.stand_ins is not None:
        told += f"; with {found.stand_ins:,} made-up classes, because the vocabulary is yet to be counted"
    if result.processes > 1:
        told += f"; one of {result.processes} processes, without the others"
    return told


def digits(value: float, count: int) -> str:
    """A number to so many significant digits, without an exponent: `980`, `0.23`, `63,300`."""
    rounded = float(f"{value:.{count}g}")
    return f"{rounded:,.0f}" if rounded >= 10 ** (count - 1) else f"{rounded:.{count}g}"


def duration(seconds: float) -> str:
    """As people say it: `45 s`, `12 min`, `7.5 h`, `3.2 days`."""
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds / size:,.2g} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds / 86400:,.1f} days"


def _length(result: "DryRun") -> str:
    if result.steps is None or result.images is None:
        return "as many steps as the epochs of the data make"
    length = f"{result.steps:,} steps, {result.images:,} images"
    if result.steps_before:
        remain = result.steps - result.steps_before
        length += f"; {result.steps_before:,} steps are done, {remain:,} remain, and the cost is of these"
    if len({row.size for row in result.sizes}) > 1:
        length += f", a mean batch of {result.batch_over_base:.2f} times the one at the model's own size"
    return length


def _sizes(result: "DryRun") -> "list[Table]":
    if len(result.sizes) < 2:
        return []
    numbers = ["steps", "images a step", "GFLOPs an image, forward"]
    sizes = table("pixels a side", *numbers, numbers=numbers)
    for row in result.sizes:
        left_out = f", {row.token_drop:.0%} of the patches left out" if row.token_drop else ""
        flops = f"{row.flops_per_image / 1e9:,.2f}"
        sizes.add_row(f"{row.size}{left_out}", f"{row.steps:,}", f"{row.images:,}", flops)
    return [sizes]


def _averaged(result: "DryRun") -> bool:
    return any(row.key == "ema.momentum" and row.value is not None for row in result.values)
