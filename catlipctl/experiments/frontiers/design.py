"""What a frontier compares, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from catlipctl.errors import UsageError
from catlipctl.experiments.folder import ProbeData
from catlipctl.experiments.frontiers.budgets import Budget, Tuned
from catlipctl.experiments.frontiers.methods import Method


@dataclass(frozen=True)
class Design:
    """Methods at budgets, each run probed on the same images.

    grid: of each method's tuning; one point is taken as it is, and none leaves the recipes' own rates.
    targets: accuracies by probe, of which it is told what they take.
    """

    methods: Sequence[Method]
    budgets: Sequence[Budget]
    probes: Sequence[ProbeData]
    grid: Sequence[Tuned]
    seeds: int = 3
    rounds: int = 5
    targets: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """UsageError for what cannot be compared."""
        names = {name_of(data) for data in self.probes}
        if not names:
            raise UsageError("a frontier needs a probe", "--probe SOURCE names labelled images")
        if unknown := sorted(set(self.targets) - names):
            raise UsageError(f"no probe is called {unknown[0]}", f"they are {', '.join(sorted(names))}")

    @property
    def searched(self) -> Sequence[Tuned]:
        """The points of the grid of which one is to be chosen."""
        return self.grid if len(self.grid) > 1 else ()

    def held_out(self) -> list[ProbeData]:
        """What tuning may see: a part of each probe's training images tests, the same for all methods."""
        return [data._replace(name=f"held-out-{name_of(data)}", test=None) for data in self.probes]


def name_of(data: ProbeData) -> str:
    """A probe's short name."""
    return data.name.removeprefix("lp-")
