"""The two loops that `bench loop` compares do the same sums."""

from pathlib import Path
from typing import Any

import pytest
import torch

from catlipctl.bench import loop as benchmark
from catlipctl.bench.comparison import Comparison
from catlipctl.training.learner import Learner
from catlipctl.training.world import World


def test_both_loops_learn_the_same_and_average_it(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners, averages = [], []
    made, lerp = Learner.__init__, torch._foreach_lerp_

    def learner(self: Learner, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        learners.append(self)

    def averaged(values: list[torch.Tensor], *others: Any) -> None:
        averages.append(values)
        lerp(values, *others)

    world, comparison = World(cpu=True), Comparison(model=str(tiny), batch_size=3, classes=20, seed=0)
    monkeypatch.setattr(Learner, "__init__", learner)
    benchmark.ours(comparison, world, tmp_path / "metrics.jsonl", compiled=False)(4)
    monkeypatch.setattr(torch, "_foreach_lerp_", averaged)
    benchmark.bare(comparison, world, compiled=False)(4)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3  # the last is read by a save
    assert len(averages) == 4
    module, ours = learners[0].objective.model, learners[0].tower_weights()
    for (name, raw), found in zip(module.named_parameters(), averages[-1], strict=True):
        torch.testing.assert_close(found, ours[name], rtol=1e-5, atol=1e-7)
        assert not torch.equal(ours[name], raw)
