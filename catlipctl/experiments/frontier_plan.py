"""What a frontier would run, and how long that takes."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from catlipctl.experiments.budgets import Budget, Timing, budget_name, tuning_name
from catlipctl.experiments.folder import earlier
from catlipctl.experiments.frontier import Begun, Design
from catlipctl.experiments.frontier_result import RESULT
from catlipctl.experiments.methods import Differing, Method, differing
from catlipctl.pretraining.checks import Place, Refusal
from catlipctl.pretraining.dry_run import DryRun, dry_run
from catlipctl.progress import SILENT, Progress
from catlipctl.results import Result
from catlipctl.training.directory import RunDirectory


class PlannedMethod(BaseModel):
    """tuning_runs, runs: of the grid, and those that are compared. finished: of both.

    seconds: of training that is left; None where steps are yet to be timed. refusals: of its runs here.
    """

    name: str
    parameters: int
    tuning_runs: int
    runs: int
    finished: int
    seconds: float | None
    refusals: list[Refusal]


class FrontierPlan(Result):
    """What `frontier` would do. grid: learning rates and weight decays. seconds: of all training left."""

    out: str
    budgets: list[str]
    seeds: int
    grid: list[tuple[float, float]]
    methods: list[PlannedMethod]
    differing: list[Differing]
    seconds: float | None


def frontier_plan(
    design: Design, out: Path, *, cache_dir: Path | None = None, progress: Progress = SILENT
) -> FrontierPlan:
    """The plan, with nothing written; it raises what `frontier` would before its first run."""
    design.check()
    begun = earlier(out, RESULT, Begun)
    timings = {} if begun is None else begun.timings
    planned = []
    for method in design.methods:
        cost = dry_run(method.loaded, Place(cache_dir=cache_dir), progress=progress)
        planned.append(_planned(method, cost, design, out, timings))
    told = [method.seconds for method in planned if method.seconds is not None]
    return FrontierPlan(
        out=str(out),
        budgets=[budget.name for budget in design.budgets],
        seeds=design.seeds,
        grid=[(one.lr, one.weight_decay) for one in design.grid],
        methods=planned,
        differing=differing(design.methods),
        seconds=sum(told) if len(told) == len(planned) else None,
    )


def _planned(
    method: Method, cost: DryRun, design: Design, out: Path, timings: Mapping[str, Timing]
) -> PlannedMethod:
    names = {tuning_name(method, one): design.budgets[0] for one in design.searched}
    seeds = range(method.recipe.seed, method.recipe.seed + design.seeds)
    compared = {budget_name(method, budget, seed): budget for budget in design.budgets for seed in seeds}
    done = {name for name in names | compared if RunDirectory(out / name).was_complete}
    seconds = [
        _seconds(budget, cost, timings.get(method.name))
        for name, budget in (names | compared).items()
        if name not in done
    ]
    known = [one for one in seconds if one is not None]
    return PlannedMethod(
        name=method.name,
        parameters=cost.parameters,
        tuning_runs=len(names),
        runs=len(compared),
        finished=len(done),
        seconds=sum(known) if len(known) == len(seconds) else None,
        refusals=cost.refusals,
    )


def _seconds(budget: Budget, cost: DryRun, timing: Timing | None) -> float | None:
    """Of a run: as its budget says, or by the timing."""
    if budget.unit == "seconds":
        return budget.amount
    samples = cost.images if budget.unit == "own" else budget.amount
    if timing is None or samples is None:
        return None
    return samples * timing.seconds_per_sample
