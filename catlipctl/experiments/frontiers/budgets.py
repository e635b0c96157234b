"""Budgets of wall-clock or of samples: what each makes of a method's recipe, and the runs of it."""

import re
from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

from catlipctl.errors import UsageError
from catlipctl.experiments.frontiers.methods import TUNED, Method
from catlipctl.experiments.frontiers.timing import Timing
from catlipctl.experiments.points import Point, named
from catlipctl.recipe import Override
from catlipctl.settings.training import Length
from catlipctl.training.steps import planned

SECONDS = {"s": 1, "m": 60, "h": 3600}
TEXT = re.compile(r"(?P<amount>\d+(?:\.\d+)?)(?P<unit>[smh]?)")
OWN = "own"
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
DECAYS = (0.05, 0.2)
"""The grid of each method, if nothing else is said."""
TUNING_SEED = 1000
"""What is added to a recipe's seed for the runs of the grid: no run that is compared has it."""
Unit = Literal["seconds", "samples", "own"]


class Budget(NamedTuple):
    """What a run may take. name: as it was given, that of a folder. own: what the recipe says."""

    name: str
    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """From `30s`, `2m`, `1.5h`; from a number of samples; or `own`. UsageError for anything else."""
        if text == OWN:
            return cls(OWN, "own", 0)
        found = TEXT.fullmatch(text)
        amount = float(found["amount"]) if found else 0
        if found is None or amount <= 0 or (not found["unit"] and amount != int(amount)):
            raise UsageError(f"{text!r} is no budget", "seconds as 30s, 2m or 1h, or a number of samples")
        if found["unit"]:
            return cls(text, "seconds", amount * SECONDS[found["unit"]])
        return cls(text, "samples", amount)


def budgets(text: str) -> list[Budget]:
    """Those of `30s,60s,120s`, the smallest first; UsageError where they are of several units, or equal."""
    found = sorted((Budget.parse(part.strip()) for part in text.split(",")), key=lambda one: one.amount)
    if len({one.unit for one in found}) > 1:
        raise UsageError(f"{text}: budgets of several units", "give all in seconds, or all in samples")
    if len({one.amount for one in found}) < len(found):
        raise UsageError(f"{text}: a budget stands twice", "name each once")
    return found


class Tuned(NamedTuple):
    """A point of the grid of each method: learning rate and weight decay."""

    lr: float
    weight_decay: float

    def overrides(self) -> list[Override]:
        """On a recipe."""
        return [Override(key, value, "tuning") for key, value in zip(TUNED, self, strict=True)]


def grid(lr: str | None, weight_decay: str | None, *, own: bool = False) -> list[Tuned]:
    """The points of `LR,LR...` with each of `DECAY,DECAY...`; own: without either, none."""
    if own and lr is None and weight_decay is None:
        return []
    values = product(_rates("--lr", lr, RATES), _rates("--weight-decay", weight_decay, DECAYS))
    return [Tuned(*one) for one in values]


def _rates(flag: str, text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    try:
        return default if text is None else tuple(dict.fromkeys(map(float, text.split(","))))
    except ValueError:
        raise UsageError(f"{flag} {text}: not of the form NUMBER,NUMBER,...", f"{flag} 0.001,0.002") from None


def fitted(method: Method, budget: Budget, timing: Timing | None, epoch: int) -> list[Override]:
    """What the budget makes of a method's recipe: its length, and a warm-up of the same share of the steps.

    timing: of the method, for a budget of seconds. epoch: its samples.
    """
    recipe = method.recipe
    if budget.unit == "own":
        return []
    samples = int(budget.amount)
    if budget.unit == "seconds":
        assert timing is not None, "seconds become samples by a timing"
        samples = timing.samples(budget.amount, recipe.global_batch_size)
    shorter = recipe.model_copy(update={"length": Length(samples=samples)})
    own, now = (planned(one, one.model.image_size, epoch) for one in (recipe, shorter))
    assert own is not None
    assert now is not None
    warmup = round(recipe.schedule.warmup_steps * len(now) / len(own))
    return [
        Override("length", {"samples": samples}, "budget"),
        Override("schedule.warmup_steps", warmup, "budget"),
    ]


def tuning_point(method: Method, tuned: Tuned, fit: Sequence[Override]) -> Point:
    """A run of the grid."""
    seed = method.recipe.seed + TUNING_SEED
    loaded = method.changed(*fit, *tuned.overrides(), Override("seed", seed, "tuning"))
    values = dict(zip(TUNED, tuned, strict=True))
    return Point(tuning_name(method, tuned), loaded, {"method": method.name, **values})


def budget_point(method: Method, budget: Budget, chosen: Tuned, fit: Sequence[Override], seed: int) -> Point:
    """A run that is compared."""
    loaded = method.changed(*fit, *chosen.overrides(), Override("seed", seed, "frontier"))
    values = {"method": method.name, "budget": budget.name, **dict(zip(TUNED, chosen, strict=True))}
    return Point(budget_name(method, budget, chosen, seed), loaded, values)


def tuning_name(method: Method, tuned: Tuned) -> str:
    """The folder of a run of the grid."""
    return f"{method.name}/tuning/{named(tuned._asdict())}"


def budget_name(method: Method, budget: Budget, chosen: Tuned, seed: int) -> str:
    """The folder of a run that is compared: should a longer grid choose other rates, its runs are others."""
    return f"{method.name}/{budget.name}/{named({**chosen._asdict(), 'seed': seed})}"
