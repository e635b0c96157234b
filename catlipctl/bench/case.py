"""One case of `bench step`: a model, an image size, a precision and a batch, with all sides in turns."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import copy

import torch

from catlipctl.bench import configuration as configurations
from catlipctl.bench import protocols
from catlipctl.bench.collectives import measured, recorded
from catlipctl.bench.communication import Network, Shapes, collectives
from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.contestants import PLAIN, build
from catlipctl.bench.device import find_batch, speed
from catlipctl.bench.host import host_time
from catlipctl.bench.learners import Engine, settings_of
from catlipctl.bench.memory import trial
from catlipctl.bench.protocols import Cluster, Measured
from catlipctl.bench.result import Spread
from catlipctl.bench.rounds import Round, Side, explained, ratio, rounds, spreads, take, with_communication
from catlipctl.bench.spans import Contestant, Span, by_part, by_phase, counted
from catlipctl.bench.step_result import Device, Fitting, HostTime, StepCase, StepRow, Traffic
from catlipctl.errors import OutOfMemory
from catlipctl.objectives.objective import Encode
from catlipctl.progress import Progress
from catlipctl.training.compilation import compiled
from catlipctl.training.tuning import float32_products
from catlipctl.training.world import World

STATE = 4
"""A weight, its gradient and its two moments; one more where weights are averaged. All are float32."""


class Case:
    """What is measured of one case, and with what.

    encode: by objective, what makes labels of captions. captions: by which the host's work is timed; none:
    it is not. network: between the processes, once it is measured; None for one process.
    """

    def __init__(
        self,
        comparison: Comparison,
        entries: Sequence[Entry],
        world: World,
        progress: Progress,
        *,
        encode: Mapping[str, Encode],
        captions: Sequence[str],
        clusters: Sequence[Cluster],
        find_batch: bool,
        memory: bool,
    ) -> None:
        self.comparison, self.entries, self.world, self.progress = comparison, entries, world, progress
        self._encode, self._captions, self._clusters = encode, captions, clusters
        self._find_batch, self._memory = find_batch, memory
        self.network: Network | None = None

    def measured(self, count: int | None) -> StepCase:
        """Everything. count: of rounds, None for as many as fit. OutOfMemory where the batch does not fit."""
        comparison, world = self.comparison, self.world
        largest, peaks = self._largest(), self._peaks()
        self.progress.note(f"warming up {comparison.model} with {comparison.batch_size} images a step")
        with float32_products(world.device, comparison.precision):
            try:
                sides = {entry.name: self._side(entry) for entry in self.entries}
                flops = {name: _flops(side.itself, world.device) for name, side in sides.items()}
                for _ in range(2 if comparison.compile else 1):
                    warm = take(sides, list(sides), world)
                before = compiled()
                found = rounds(sides, count, warm, world, self.progress)
                recompiled = compiled() - before
            except (OutOfMemory, torch.OutOfMemoryError) as error:
                raise OutOfMemory(
                    f"{comparison.batch_size} images a step fit into memory for each, not for all at once",
                    "take a smaller --batch-size",
                ) from error
        device = speed(comparison, world)
        alone = self._alone(sides)
        rows = [
            self._row(entry, sides[entry.name], found, flops[entry.name], device).model_copy(
                update={
                    "peak_memory_bytes": peaks.get(entry.name),
                    "largest": largest.get(entry.name),
                    "traffic": self._traffic(entry, sides[entry.name], alone),
                }
            )
            for entry in self.entries
        ]
        return self._case(rows, found, sides, device, recompiled)

    def _alone(self, sides: Mapping[str, Side]) -> dict[str, Spread]:
        """Seconds of what each of ours sends, by itself; and the links between the processes, once known."""
        if self.world.size == 1:
            return {}
        engines = {name: side.together for name, side in sides.items()}
        sent = {name: recorded(one) for name, one in engines.items() if isinstance(one, Engine)}
        self.network, found = measured(sent, self.world)
        return found

    def _side(self, entry: Entry) -> Side:
        encode = self._encode.get(entry.objective)
        together, alone = build(entry, self.comparison, self.world, encode), None
        if self.world.size > 1:
            itself = copy(self.world)
            itself.size, itself.rank = 1, 0
            alone = build(entry, self.comparison, itself)
        return Side(together, alone)

    def _largest(self) -> dict[str, Fitting]:
        ours = [entry for entry in self.entries if entry.kind == "ours" and self._find_batch]
        return {entry.name: find_batch(entry, self.comparison, self.world, self.progress) for entry in ours}

    def _peaks(self) -> dict[str, int]:
        peaks = {}
        for entry in self.entries if self._memory else ():
            self.progress.note(f"measuring the peak memory of {entry.name} in a separate process")
            peaks[entry.name] = trial(entry, self.comparison, self.world).peak_bytes
        return peaks

    def _row(
        self, entry: Entry, side: Side, found: Sequence[Round], flops: dict[Span, int], device: Device
    ) -> StepRow:
        taken, rows, world = [one[entry.name] for one in found], self.comparison.batch_size, self.world
        several = side.alone is not None
        parts = [with_communication(by_part(one.spans), one, several) for one in taken]
        step = Spread.of([one.step for one in taken])
        per_sample = {name: number // rows for name, number in (by_part(flops) or by_phase(flops)).items()}
        speed, total = rows * world.size / step.median, sum(flops.values()) // rows
        learned = sum(p.numel() for p in side.together.module.parameters() if p.requires_grad)
        return StepRow(
            **entry.model_dump(),
            step=step,
            phases=spreads([by_phase(one.spans) for one in taken]),
            parts=spreads(parts),
            images_per_second=speed,
            utilisation=total * speed / world.size / device.most,
            parameters=learned,
            flops={name: number for name, number in per_sample.items() if number},
            flops_per_sample=total,
            peak_memory_bytes=None,
            state_bytes=4 * learned * (STATE + (self.comparison.ema and entry.kind == "ours")),
            host=self._host(entry, side),
            traffic=None,
            largest=None,
            steps=[one.step for one in taken],
            rounds=[{str(span): seconds for span, seconds in one.spans.items()} for one in taken],
        )

    def _host(self, entry: Entry, side: Side) -> HostTime | None:
        if not self._captions or not isinstance(side.together, Engine) or not self.world.is_main:
            return None
        return host_time(entry.objective, side.together.module, self._captions)

    def _traffic(self, entry: Entry, side: Side, alone: Mapping[str, Spread]) -> Traffic | None:
        if self.network is None or not isinstance(side.together, Engine):
            return None
        shapes, size = shapes_of(entry, self.comparison, side.together), self.world.size
        sent = collectives(entry.objective, shapes, self.comparison.batch_size, size)
        return Traffic(
            sent={each.of: each.sent(size) for each in sent},
            alone=alone[entry.name],
            predicted=sum(each.seconds(size, self.network) for each in sent),
        )

    def _case(
        self,
        rows: list[StepRow],
        found: Sequence[Round],
        sides: Mapping[str, Side],
        device: Device,
        recompiled: int,
    ) -> StepCase:
        comparison, world = self.comparison, self.world
        ours = {row.name: row for row in rows if row.kind == "ours"}
        first, *others = ours.values()
        ratios = {row.name: ratio(found, row.name, first.name) for row in others}
        known = []
        for entry in self.entries:
            engine = sides[entry.name].together
            if isinstance(engine, Engine):
                shapes = shapes_of(entry, comparison, engine)
                rows_, hides = comparison.batch_size, world.device.type == "cuda"
                known.append(Measured(ours[entry.name], shapes, rows_, rows_ * world.size, hides))
        # Links between the processes that stepped are known.
        here = {world.size: self.network} if self.network is not None else {}
        clusters = [one._replace(inside=here.get(one.processes, one.inside)) for one in self._clusters]
        estimates = protocols.estimates(known, device, clusters)
        batch, medians = comparison.batch_size, {name: one.median for name, one in ratios.items()}
        answers = {
            "a": protocols.same_batch(medians, batch, world.size),
            "b": protocols.largest_batches(rows),
            "c": protocols.papers_protocol(
                list(ours.values()),
                estimates,
                batch,
                world.size,
                # One process on a CPU is timed by what its cores did.
                "core-hours" if world.device.type == "cpu" and world.size == 1 else "device-hours",
            ),
        }
        plain = {}
        for entry in self.entries:
            if entry.kind == "plain":
                mine = next(row.name for row in rows if row.objective == entry.objective)
                plain[mine] = ratio(found, PLAIN[entry.objective][0], mine)
        return StepCase(
            model=comparison.model,
            image_size=configurations.image_size(comparison.configuration()),
            precision=str(world.precision(comparison.precision)).removeprefix("torch."),
            batch_size=batch,
            rows=rows,
            ratios=ratios,
            plain=plain,
            explained={row.name: explained(row, first, ratios[row.name]) for row in others},
            device=device,
            recompiled=recompiled,
            estimates=estimates,
            answers=answers,
        )


def _flops(contestant: Contestant, device: torch.device) -> dict[Span, int]:
    once = contestant.nothing_computed_again() if isinstance(contestant, Engine) else nullcontext()
    with once:
        return counted(contestant, device)


def shapes_of(entry: Entry, comparison: Comparison, engine: Engine) -> Shapes:
    """What decides how much the entry sends."""
    buffers: dict[torch.dtype, int] = {}
    for buffer in engine.module.buffers():
        buffers[buffer.dtype] = buffers.get(buffer.dtype, 0) + buffer.numel() * buffer.element_size()
    settings = settings_of(entry, comparison)
    return Shapes(
        parameters=sum(p.numel() for p in engine.module.parameters() if p.requires_grad),
        buffers=list(buffers.values()),
        width=getattr(settings, "embed_dim", 0),
        classes=comparison.classes_of(entry.objective),
        parts=engine.parts,
    )
