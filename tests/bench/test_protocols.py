"""Estimates against arithmetic by hand; three answers that are never one for another."""

import pytest

from catlipctl.bench.communication import Network, Shapes, collectives
from catlipctl.bench.protocols import (
    GLOBAL_BATCH,
    PAIRS,
    Cluster,
    Measured,
    estimates,
    largest_batches,
    papers_protocol,
)
from catlipctl.bench.result import Spread
from catlipctl.bench.step_result import Device, Fitting, StepRow

DEVICE = Device(products=1e14, peak=None, peak_of=None)
FAST = Network(bandwidth=1e30, latency=0, source="nothing takes time")
SLOW = Network(bandwidth=1e9, latency=1e-4, source="made up")
SHAPES = Shapes(parameters=10**8, buffers=[], width=512, classes=9, parts=2)


def row(objective: str, forward: float, batch_size: int | None = None) -> StepRow:
    def exactly(seconds: float) -> Spread:
        return Spread(median=seconds, low=seconds, high=seconds)

    phases = {"forward": forward, "loss": 0.01, "backward": 2 * forward, "optimiser": 0.02}
    largest = None
    if batch_size is not None:
        largest = Fitting(
            batch_size=batch_size, peak_memory_bytes=1, searched_to=4096, images_per_second=100 * batch_size
        )
    return StepRow(
        name=objective,
        objective=objective,
        kind="ours",
        context=None,
        step=exactly(sum(phases.values())),
        phases={name: exactly(seconds) for name, seconds in phases.items()},
        parts={},
        images_per_second=1,
        utilisation=0.1,
        parameters=10**8,
        flops={},
        flops_per_sample=1,
        peak_memory_bytes=None,
        state_bytes=1,
        host=None,
        traffic=None,
        largest=largest,
        steps=[],
        rounds=[],
    )


def measured(objective: str, forward: float = 0.1, batch: int = 1024, *, hides: bool = True) -> Measured:
    return Measured(row(objective, forward), SHAPES, batch, batch, hides)


def test_hours_are_those_of_an_epoch_in_pieces_of_the_batch() -> None:
    (found,) = estimates([measured("catlip")], DEVICE, [Cluster(16, 8, FAST, FAST)])
    # 4,096 images a device: four pieces of 0.31 s, and one step of the optimiser.
    assert (found.nodes, found.rows, found.pieces) == (2, 4096, 4)
    assert found.compute == found.step == pytest.approx(4 * 0.31 + 0.02)
    steps = -(-PAIRS // GLOBAL_BATCH)
    assert steps == 19_532
    assert found.hours == pytest.approx(steps * 1.26 * 16 / 3600)


def test_contrast_takes_a_second_forward_pass_in_pieces_and_products_with_all_pairs() -> None:
    catlip, clip = estimates([measured("catlip"), measured("clip")], DEVICE, [Cluster(16, 8, FAST, FAST)])
    # Four products of 2 D operations with each pair beyond the 1,024 that were measured.
    pairs = 8 * 512 * (GLOBAL_BATCH - 1024) * 4096 / 1e14
    assert clip.compute == pytest.approx(catlip.compute + 4 * 0.1 + pairs)
    assert clip.ratio == pytest.approx(clip.step / catlip.step)
    _, whole = estimates([measured("catlip"), measured("clip")], DEVICE, [Cluster(64, 8, FAST, FAST)])
    assert (whole.pieces, whole.compute) == (1, pytest.approx(0.33 + pairs / 4))


def test_what_is_sent_is_waited_for_unless_a_backward_pass_hides_it() -> None:
    cluster = Cluster(64, 1, FAST, SLOW)
    (hidden,), (seen,) = (
        estimates([measured("catlip", hides=hides)], DEVICE, [cluster]) for hides in (True, False)
    )
    sent = collectives("catlip", SHAPES, 1024, 64)
    whole = sum(each.seconds(64, SLOW) for each in sent)
    assert hidden.communication == seen.communication == seen.waited == pytest.approx(whole)
    # The backward pass of the one piece takes 0.2 s of the gradients'.
    assert hidden.waited == pytest.approx(whole - 0.2)
    assert seen.step == seen.compute + seen.waited


def test_inside_a_node_its_own_links_are_used() -> None:
    for processes, between in ((8, False), (9, True)):
        (found,) = estimates([measured("catlip")], DEVICE, [Cluster(processes, 8, FAST, SLOW)])
        assert (found.communication > 1e-4) == between


def test_the_largest_batches_are_measured_or_not_answered() -> None:
    none = largest_batches([row("catlip", 0.1), row("clip", 0.1)])
    assert (none.how, none.ratios) == ("not measured", {})
    found = largest_batches([row("catlip", 0.1, 1024), row("clip", 0.1, 512)])
    assert (found.how, found.ratios) == ("measured", {"clip": 2})


def test_the_papers_protocol_is_measured_only_at_its_global_batch() -> None:
    one, other = measured("catlip"), measured("clip", 0.2)
    found = estimates([one, other], DEVICE, [Cluster(64, 8, FAST, FAST), Cluster(128, 8, FAST, FAST)])
    rows = [one.row, other.row]
    guess = papers_protocol(rows, found, 1024, 1)
    assert (guess.how, guess.ratios) == ("estimated", {"clip": found[1].ratio})
    assert f"64 devices: catlip {found[0].hours:,.0f}" in guess.text
    real = papers_protocol(rows, found, 1024, 64)
    assert (real.how, real.ratios) == ("measured", {"clip": pytest.approx(0.63 / 0.33)})
