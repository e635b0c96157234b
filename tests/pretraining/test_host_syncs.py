"""The host waits for no device in a step: nothing computed is read, but for a step's result, a step late.

On a CPU each read is free, so it is counted: reads of one number, which the dispatcher sees, those inside
torch too; and those of Python that it does not see. What the loader makes on the host (positions, samples,
all that it does before a batch is handed over) was never on a device: to read it is to wait for nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from catlipctl.data.batch import Batch, Step
from catlipctl.objectives import OBJECTIVES, Catlip, Output
from catlipctl.pretraining import pretrain
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import loop
from catlipctl.training.learner import Learner
from catlipctl.training.underway import Outcome, Underway

READS = ("tolist", "numpy", "cpu", "__array__")
"""Beside `item`, `float(x)`, `int(x)` and `if x`, which all ask the dispatcher for a number."""
STEPS = 8


class Reads(TorchDispatchMode):
    """What happens, in its order: reads of what was computed, by name, steps launched, and results read."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.host: list[Tensor] = []
        """Tensors that the loader has made on the host, and rows of them."""
        self.away = 0
        """Inside the loader, or reading a result."""

    def read(self, tensor: Tensor, how: str) -> None:
        if not self.away and not self.on_host(tensor):
            self.events.append(how)

    def on_host(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and any(
            tensor.untyped_storage().data_ptr() == other.untyped_storage().data_ptr() for other in self.host
        )

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            self.read(args[0], "one number")
        found = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.index.Tensor and self.on_host(args[0]):
            self.host.append(found)
        return found


def read_by(recipe: PretrainRecipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events of a run, from its second step's launch to the launch of its last but one."""
    reads = Reads()
    for name in READS:
        original = getattr(Tensor, name)

        def seen(
            self: Tensor, *arguments: Any, _original: Any = original, _name: str = name, **more: Any
        ) -> Any:
            reads.read(self, _name)
            return _original(self, *arguments, **more)

        monkeypatch.setattr(Tensor, name, seen)
    step, outcome, batches = Learner.step, Underway.outcome, loop.batches

    def launched(self: Learner, of: Step, pieces: Sequence[Batch], *arguments: Any) -> Underway:
        reads.events.append(f"launch {of.index}")
        reads.host += [tensor for piece in pieces for tensor in (piece.positions, piece.samples)]
        return step(self, of, pieces, *arguments)

    def away(function: Callable[[], Any]) -> Any:
        reads.away += 1
        try:
            return function()
        finally:
            reads.away -= 1

    def result(self: Underway) -> Outcome:
        reads.events.append(f"result {self.step.index}")
        return away(lambda: outcome(self))

    def loaded(*arguments: Any) -> Iterator[list[Batch]]:
        made = batches(*arguments)
        for _ in range(STEPS):
            yield away(lambda: next(made))

    monkeypatch.setattr(Learner, "step", launched)
    monkeypatch.setattr(Underway, "outcome", result)
    monkeypatch.setattr(loop, "batches", loaded)
    with reads:
        pretrain(recipe, out=out, cpu=True)
    events = reads.events
    return events[events.index("launch 1") : events.index(f"launch {STEPS - 2}")]


QUIET = ["launch 1", "result 0", "launch 2", "result 1", "launch 3", "result 2"]
QUIET += ["launch 4", "result 3", "launch 5", "result 4"]

CATLIP = {
    "model": {"name": "test_resnet", "image_size": 32},
    "device_batch_size": 4,
    "sizes": {"min": 32, "max": 64, "scales": 2},
    "range_augment": {},
    "ema": {"momentum": 0.2},
    "activation_checkpointing": False,
}
CLIP = {
    "objective": "clip",
    "vocabulary": {},
    "model": {"name": "test_vit", "image_size": 160},
    "clip": {"embed_dim": 8, "text": {"width": 16, "heads": 2, "layers": 1, "context_length": 9}},
    "range_augment": {},
    "ema": {"momentum": 0.2},
    "global_batch_size": 4,
    "device_batch_size": 2,
    "activation_checkpointing": True,
}


SUPERCLASS = {**CATLIP, "objective": "superclass"}
TWO_WAY = {**CATLIP, "catlip": {"loss": "two_way", "idf": True}}


@pytest.mark.parametrize(
    "sections", [CATLIP, TWO_WAY, SUPERCLASS, CLIP], ids=["catlip", "two_way", "superclass", "clip"]
)
def test_nothing_is_read_in_a_step_but_the_result_of_the_one_before(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any]
) -> None:
    """With accumulation, augmentation, BatchNorm and an average; a row of metrics is written each step."""
    recipe = PretrainRecipe.model_validate({**document, "length": {"steps": STEPS}, **sections})
    assert recipe.optimiser.clip_norm is not None
    assert read_by(recipe, tmp_path / "run", monkeypatch) == QUIET


def test_each_look_at_the_loss_is_seen(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Looking(Catlip):
        def forward(self, batch: Batch) -> Output:
            output = super().forward(batch)
            if batch.step.index == 3:
                loss = output.loss.detach()
                _ = (
                    float(loss),
                    int(loss),
                    loss.item(),
                    bool(loss > 0),
                    loss.tolist(),
                    loss.numpy(),
                    loss.cpu(),
                )
            return output

    monkeypatch.setitem(OBJECTIVES, "catlip", Looking)
    recipe = PretrainRecipe.model_validate({**document, "length": {"steps": STEPS}})
    seen = ["one number"] * 4 + ["tolist", "numpy", "cpu"]
    at = QUIET.index("launch 3") + 1
    assert read_by(recipe, tmp_path / "run", monkeypatch) == QUIET[:at] + seen + QUIET[at:]
