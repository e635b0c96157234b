"""Three answers to 'how much faster?', never one for another.

(a) the same batch; (b) each at its own largest batch; (c) the paper's protocol: a global batch of 65,536, one
epoch of DataComp's 1.28 billion pairs (CatLIP Figure 1).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from catlipctl.bench.communication import (
    SENDS,
    Network,
    Sends,
    Shapes,
    collectives,
    exposed,
    network_of,
)
from catlipctl.bench.step_result import Answer, Device, Estimate, StepRow

GLOBAL_BATCH = 65_536
PAIRS = 1_280_000_000
STEPS = math.ceil(PAIRS / GLOBAL_BATCH)


class Cluster(NamedTuple):
    """Where a run is estimated."""

    processes: int
    per_node: int
    inside: Network
    between: Network

    @property
    def nodes(self) -> int:
        """As few as hold the devices."""
        return math.ceil(self.processes / self.per_node)

    @property
    def network(self) -> Network:
        """The links of a ring over all of them."""
        return network_of(self.processes, self.per_node, self.inside, self.between)


class Measured(NamedTuple):
    """One objective's step in one process, in seconds, and what decides how much it sends.

    batch: images of the step; together: images that were contrasted. hides: is anything sent while the
    backward pass runs? On a CPU both want the same cores.
    """

    row: StepRow
    shapes: Shapes
    batch: int
    together: int
    hides: bool

    @property
    def piece(self) -> int:
        """Images that a device takes at once: the most that are known to fit."""
        largest = self.row.largest
        return self.batch if largest is None else max(self.batch, largest.batch_size)


def compute(measured: Measured, rows: int, device: Device) -> float:
    """Seconds of a step of `rows` images a process, taken in pieces of the most that are known to fit.

    Passes take as long as measured, an image; the optimiser steps once. Where the objective contrasts, pieces
    take a second forward pass (Gao et al. 2021), and its products of all pairs grow with the global batch:
    counted, at the speed of large products.
    """
    phases = {name: spread.median for name, spread in measured.row.phases.items()}
    passes = (phases["forward"] + phases["loss"] + phases["backward"]) * rows / measured.batch
    sends = SENDS.get(measured.row.objective, Sends())
    if sends.again and rows > measured.piece:
        passes += phases["forward"] * rows / measured.batch
    more = sends.pairs * measured.shapes.width * max(0, GLOBAL_BATCH - measured.together) * rows
    return passes + more / device.products + phases["optimiser"]


def estimates(measured: Sequence[Measured], device: Device, clusters: Sequence[Cluster]) -> list[Estimate]:
    """The paper's protocol of each objective on each cluster; ratios to the first objective's hours."""
    found: list[Estimate] = []
    for cluster in clusters:
        first = None
        for one in measured:
            rows = math.ceil(GLOBAL_BATCH / cluster.processes)
            sent = collectives(one.row.objective, one.shapes, rows, cluster.processes)
            # A piece's backward pass, the last one's, is as long as it has images.
            share = min(rows, one.piece) / one.batch
            backward = share * one.row.phases["backward"].median if one.hides else 0.0
            computed = compute(one, rows, device)
            waited = exposed(sent, cluster.processes, cluster.network, backward)
            step = computed + waited
            hours = step * STEPS * cluster.processes / 3600
            first = first or hours
            found.append(
                Estimate(
                    name=one.row.name,
                    objective=one.row.objective,
                    processes=cluster.processes,
                    nodes=cluster.nodes,
                    rows=rows,
                    pieces=math.ceil(rows / one.piece),
                    compute=computed,
                    communication=sum(each.seconds(cluster.processes, cluster.network) for each in sent),
                    waited=waited,
                    step=step,
                    hours=hours,
                    ratio=hours / first,
                    how="estimated",
                )
            )
    return found


def same_batch(ratios: Mapping[str, float], batch: int, processes: int) -> Answer:
    """(a): steps of the same batch, as measured."""
    return Answer(how="measured", text=f"the same batch, {processes} x {batch} images", ratios=dict(ratios))


def largest_batches(rows: Sequence[StepRow]) -> Answer:
    """(b): images a second of each at the largest batch that fits; measured where it was searched."""
    found = {row.name: row.largest for row in rows if row.largest is not None}
    if not found:
        return Answer(how="not measured", text="each at its own largest batch", ratios={})
    first, *others = found
    speed = {name: each.images_per_second for name, each in found.items() if each is not None}
    sizes = ", ".join(f"{name} {each.batch_size:,}" for name, each in found.items() if each is not None)
    return Answer(
        how="measured",
        text=f"each at its own largest batch: {sizes}",
        ratios={name: speed[first] / speed[name] for name in others},
    )


def papers_protocol(
    rows: Sequence[StepRow], found: Sequence[Estimate], batch: int, processes: int, unit: str = "device-hours"
) -> Answer:
    """(c): hours of all devices; measured only where the step had the paper's global batch."""
    text = f"a global batch of {GLOBAL_BATCH:,}, one epoch of {PAIRS / 1e9:.2f} billion pairs"
    if batch * processes == GLOBAL_BATCH:
        first, *others = rows
        ratios = {row.name: row.step.median / first.step.median for row in others}
        hours = ", ".join(
            f"{row.name} {row.step.median * STEPS * processes / 3600:,.0f} hours" for row in rows
        )
        return Answer(how="measured", text=f"{text}, {processes} devices: {hours}", ratios=ratios)
    of_one = [each for each in found if each.processes == found[0].processes]
    hours = ", ".join(f"{each.name} {each.hours:,.0f}" for each in of_one)
    devices = f"{of_one[0].processes} device{'s' if of_one[0].processes > 1 else ''}"
    return Answer(
        how="estimated",
        text=f"{text}; {unit} on {devices}: {hours}{_pieces(of_one)}",
        ratios={each.name: each.ratio for each in of_one[1:]},
    )


def _pieces(found: Sequence[Estimate]) -> str:
    """What is to be said where a device's share is not known to fit."""
    again = [each.name for each in found if each.pieces > 1 and SENDS.get(each.objective, Sends()).again]
    if not again:
        return ""
    pieces = max(each.pieces for each in found)
    return f", in {pieces:,} pieces, for which {' and '.join(again)} take a second forward pass"
