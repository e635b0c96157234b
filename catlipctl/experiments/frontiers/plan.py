"""What a frontier would run, and how long that takes."""

from itertools import product
from pathlib import Path

from pydantic import BaseModel

from catlipctl.experiments.folder import earlier
from catlipctl.experiments.frontiers.budgets import OWN, Budget, Tuned, budget_name, tuning_name
from catlipctl.experiments.frontiers.design import Design
from catlipctl.experiments.frontiers.frontier import Begun
from catlipctl.experiments.frontiers.methods import Differing, Method, differing
from catlipctl.experiments.frontiers.result import RESULT
from catlipctl.experiments.frontiers.timing import Timing
from catlipctl.pretraining.checks import Place, Refusal
from catlipctl.pretraining.dry_run import dry_run
from catlipctl.pretraining.estimate import DryRun
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
    chosen = {} if begun is None else {tuning.method: tuning.chosen for tuning in begun.tunings}
    planned = []
    for method in design.methods:
        cost = dry_run(method.loaded, Place(cache_dir=cache_dir), progress=progress)
        rates = chosen.get(method.name)
        planned.append(_planned(method, cost, design, out, timings.get(method.name), rates))
    told = [method.seconds for method in planned if method.seconds is not None]
    return FrontierPlan(
        out=str(out),
        budgets=[budget.name for budget in design.budgets],
        seeds=design.seeds,
        grid=[(one.lr, one.weight_decay) for one in design.grid],
        methods=planned,
        differing=differing(design.methods, fitted=design.budgets[0].unit != OWN),
        seconds=sum(told) if len(told) == len(planned) else None,
    )


def _planned(
    method: Method,
    cost: DryRun,
    design: Design,
    out: Path,
    timing: Timing | None,
    chosen: Tuned | None,
) -> PlannedMethod:
    """timing, chosen: as an earlier call found them."""
    names = {tuning_name(method, one): design.budgets[0] for one in design.searched}
    seeds = range(method.recipe.seed, method.recipe.seed + design.seeds)
    # Runs of rates that are yet to be chosen are called by any rates: none of them is finished.
    rates = chosen or Tuned(0, 0)
    pairs = list(product(design.budgets, seeds))
    compared = {budget_name(method, budget, rates, seed): budget for budget, seed in pairs}
    done = {name for name in names | compared if RunDirectory(out / name).was_complete}
    seconds = [
        _seconds(budget, cost, timing) for name, budget in (names | compared).items() if name not in done
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
