"""Chunks, half precision and rows give the same fits, and nothing of the size of N x K is ever held."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from catlipctl.transfer.probes import samples, selection
from catlipctl.transfer.probes.solver import Fit, Problem
from catlipctl.transfer.probes.zero_shot import zero_shot


class Peak(TorchDispatchMode):
    """The most bytes of tensors that were alive at once and are made within it."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        made = function(*arguments, **(options or {}))
        given = {
            t.untyped_storage()._cdata for t in tree_leaves((arguments, options)) if isinstance(t, Tensor)
        }
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in given:
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.bytes = max(self.bytes, sum(size for _, size in self._alive.values()))
        return made


def storages(tree: Any) -> list[torch.UntypedStorage]:
    """Where the tensors of nested containers lie."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def drawn(count: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = 2 + torch.randn(count, width, generator=generator) * torch.linspace(0.3, 2, width)
    labels = torch.arange(count) % classes
    features[torch.arange(count), labels % width] += 1
    return features, labels


def same(one: Fit, other: Fit, tolerance: float = 1e-6) -> bool:
    return torch.allclose(one.weight, other.weight, atol=tolerance) and torch.allclose(
        one.bias, other.bias, atol=tolerance
    )


@pytest.mark.parametrize(("cells", "held"), [(60, 1 << 26), (60, 0), (1 << 22, 0)])
def test_chunks_change_no_fit(cells: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "STRENGTHS", [1.0, 1e-3])
    monkeypatch.setattr(selection, "PRIOR_SCALES", (0.5,))
    features, labels = drawn(90, 8, 5)
    prior = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    whole = Problem(features, labels, 5, prior)
    expected = whole.fit(1e-3, 0.5)
    choice = selection.choose(features, labels, 5, prior)
    monkeypatch.setattr(samples, "CELLS_AT_ONCE", cells)
    monkeypatch.setattr(samples, "HELD", held)
    chunked = Problem(features, labels, 5, prior)
    assert same(chunked.fit(1e-3, 0.5), expected)
    assert torch.allclose(chunked.scale, whole.scale)
    again = selection.choose(features, labels, 5, prior)
    assert [point.acc1 for point in again.grid] == [point.acc1 for point in choice.grid]
    assert (again.regularisation, again.prior_scale) == (choice.regularisation, choice.prior_scale)


@pytest.mark.parametrize("held", [0, 1 << 26])
def test_half_precision_is_converted_and_rows_are_a_part(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "HELD", held)
    features, labels = drawn(90, 8, 5)
    half = features.half()
    assert same(Problem(half, labels, 5).fit(0.01), Problem(half.double(), labels, 5).fit(0.01))
    rows = torch.arange(0, 90, 2)
    part = Problem(features, labels, 5, rows=rows).fit(0.01)
    assert same(part, Problem(features[rows], labels[rows], 5).fit(0.01))
    assert torch.allclose(samples.mean(half, rows), half[rows].double().mean(0))


def test_no_step_holds_a_number_for_each_sample_and_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak memory beside the features stays below the logits of all samples, in float32 and held once."""
    count, width, classes = 12_000, 24, 400
    monkeypatch.setattr(samples, "CELLS_AT_ONCE", 1 << 17)
    monkeypatch.setattr(samples, "HELD", 0)
    monkeypatch.setattr(selection, "STRENGTHS", [1e-2])
    monkeypatch.setattr(selection, "PRIOR_SCALES", ())
    features, labels = drawn(count, width, classes)
    prior = torch.zeros(classes, width).double()
    with Peak() as peak:
        choice = selection.choose(features, labels, classes, prior)
        fit = Problem(features, labels, classes, prior).fit(choice.strength, tolerance=1e-2)
        zero_shot(features, prior)
    assert peak.bytes < 4 * count * classes
    with Peak() as whole:
        fit.logits(features)
    assert whole.bytes >= 8 * count * classes  # what is forbidden is seen
