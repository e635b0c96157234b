"""The model of what is sent, against closed forms and against what two processes really send."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.bench import collectives as sending
from catlipctl.bench.case import shapes_of
from catlipctl.bench.communication import (
    BETWEEN,
    INSIDE,
    Collective,
    Network,
    Shapes,
    collectives,
    exposed,
    gradients,
    network_of,
)
from catlipctl.bench.comparison import Comparison
from catlipctl.bench.contestants import entries
from catlipctl.bench.learners import ours
from catlipctl.objectives import OBJECTIVES
from catlipctl.training.world import World

LINK = Network(bandwidth=1e9, latency=1e-5, source="made up")


def ring_all_reduce(size: int, processes: int) -> tuple[int, float]:
    """Messages that follow each other, and bytes that one process sends: chunk by chunk."""
    chunk, messages, sent = size / processes, 0, 0.0
    for _ in ("reduce-scatter", "all-gather"):
        for _ in range(processes - 1):
            messages, sent = messages + 1, sent + chunk
    return messages, sent


@given(st.integers(2, 300), st.integers(1, 10**9))
def test_an_all_reduce_goes_round_the_ring_twice(processes: int, size: int) -> None:
    collective = Collective("all-reduce", size, "")
    messages, sent = ring_all_reduce(size, processes)
    assert (collective.messages(processes), collective.sent(processes)) == (messages, pytest.approx(sent))
    assert collective.seconds(processes, LINK) == pytest.approx(1e-5 * messages + sent / 1e9)
    assert collective.seconds(1, LINK) == 0


def test_what_each_has_reaches_all_others() -> None:
    # In a circle of 8 what each puts in is handed on 7 times.
    gather = Collective("all-gather", 1000, "")
    assert (gather.messages(8), gather.sent(8)) == (7, 7000)
    shapes = Shapes(parameters=9, buffers=[], width=5, classes=3, parts=1)
    *_, ring = collectives("siglip", shapes, 50, 8)
    # Texts visit 7 others, and their gradient goes with them all the way home.
    assert (ring.messages(8), ring.sent(8)) == (7 + 8, (7 + 8) * 50 * 5 * 4)


def test_gradients_go_in_ddps_buckets() -> None:
    # torch: the first bucket has 1 MiB, the others 25.
    for megabytes, calls in ((0.5, 1), (1, 1), (26, 2), (27, 3)):
        assert gradients(int(megabytes * 2**20 / 4)).calls == calls


def test_one_hop_a_node_is_between_nodes_and_all_their_links_are_at_work() -> None:
    assert network_of(8, 8, INSIDE, BETWEEN) is INSIDE
    # NCCL's tuning: (steps - steps between nodes) times one latency, and these times the other.
    mixed = network_of(64, 8, INSIDE, BETWEEN)
    assert 64 * mixed.latency == pytest.approx(8 * BETWEEN.latency + 56 * INSIDE.latency)
    assert mixed.bandwidth == 8 * BETWEEN.bandwidth
    assert network_of(4, 1, INSIDE, BETWEEN).latency == BETWEEN.latency
    assert network_of(4, 1, INSIDE, BETWEEN).bandwidth == BETWEEN.bandwidth


@given(st.floats(0, 1), st.integers(2, 64))
def test_a_backward_pass_hides_gradients_but_for_the_last_bucket_and_nothing_else(
    backward: float, processes: int
) -> None:
    sent = [gradients(50_000_000), Collective("all-gather", 4096, "features")]
    alone = [each.seconds(processes, LINK) for each in sent]
    waited = exposed(sent, processes, LINK, backward)
    assert waited == pytest.approx(alone[1] + max(alone[0] / sent[0].calls, alone[0] - backward))
    assert exposed(sent, processes, LINK, 0) == pytest.approx(sum(alone))


def test_a_process_alone_sends_nothing() -> None:
    shapes = Shapes(parameters=9, buffers=[4], width=2, classes=3, parts=1)
    assert [collectives(name, shapes, 4, 1) for name in OBJECTIVES] == [[]] * len(OBJECTIVES)


def test_two_processes_send_what_the_model_says(
    tiny: Path, tmp_path: Path, in_processes: Callable[..., list[int]]
) -> None:
    assert in_processes(__file__, tiny, tmp_path) == [0, 0]
    found = json.loads((tmp_path / "0.json").read_text())
    assert list(found["sent"]) == list(OBJECTIVES)
    for name, (really, model) in found["sent"].items():
        assert Counter(dict(really)) == Counter(dict(model)), name
    assert found["bandwidth"] > 0
    assert found["seconds"] > 0


def by_kind(sent: list[Collective]) -> list[tuple[str, int]]:
    """Bytes by kind."""
    total = Counter[str]()
    for each in sent:
        total[each.kind] += each.bytes
    return sorted(total.items())


def worker(tiny: str, folder: str) -> None:
    """Record a step of each objective, after those in which DDP makes its buckets."""
    torch.set_num_threads(1)
    world, case = World(cpu=True), Comparison(model=tiny, batch_size=3, classes=50)
    sent = {}
    for entry in entries(list(OBJECTIVES), [None], case, plain=False):
        engine = ours(entry, case, world)
        for _ in range(2):
            engine.step(lambda _: None)
        model = collectives(entry.objective, shapes_of(entry, case, engine), case.batch_size, world.size)
        sent[entry.objective] = [by_kind(sending.recorded(engine)), by_kind(model)]
        last = sending.recorded(engine)
    sending.SIZES, sending.TRIES = (2**12, 2**20), 2
    network, alone = sending.measured({"last": last}, world)
    found = {"sent": sent, "bandwidth": network.bandwidth, "seconds": alone["last"].median}
    (Path(folder) / f"{world.rank}.json").write_text(json.dumps(found))
    world.close()


if __name__ == "__main__":
    worker(*sys.argv[1:])
