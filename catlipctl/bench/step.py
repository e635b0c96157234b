"""`bench step`: training steps of objectives beside each other, with one image tower, batch and optimiser."""

from itertools import product

import torch
from pydantic import BaseModel, ConfigDict, Field

from catlipctl.bench.case import Case
from catlipctl.bench.communication import BETWEEN, INSIDE, Network
from catlipctl.bench.comparison import OPTIMISER, Comparison
from catlipctl.bench.contestants import entries
from catlipctl.bench.device import must_search
from catlipctl.bench.host import encoders
from catlipctl.bench.labels import Captions
from catlipctl.bench.protocols import Cluster
from catlipctl.bench.step_result import StepBenchmark
from catlipctl.errors import UsageError
from catlipctl.objectives.objective import Encode
from catlipctl.progress import SILENT, Progress
from catlipctl.settings import Images, Pixels
from catlipctl.settings.training import Precision
from catlipctl.training.world import World


class StepSettings(BaseModel):
    """Settings of `bench step`. Of each list all combinations are measured, one after the other.

    models, batch_sizes: where there are none, they are chosen for the device. image_sizes: none for the
    model's own. contexts: tokens of text towers; None is the model's own.
    rounds: steps of each that count, rounded up to an even number; None takes as many as fit in a quarter of
    a minute. classes: of label objectives; None for each one's own. plain: measure the plain steps too.
    compile: the towers of ours. find_batch: search the largest batch at which each fits into memory.
    memory: measure the peak memory of each in a process of its own. captions: by which the host's work is
    timed; None leaves that out. estimate: devices on which the paper's protocol is estimated; nodes: on how
    many nodes they are, None for 8 devices each.
    """

    model_config = ConfigDict(extra="forbid")

    objectives: list[str] = Field(default=["catlip", "clip"], min_length=1)
    models: list[str] = Field(default_factory=list)
    image_sizes: list[Pixels | None] = Field(default=[None], min_length=1)
    precisions: list[Precision] = Field(default=["auto"], min_length=1)
    batch_sizes: list[Images] = Field(default_factory=list)
    contexts: list[int | None] = Field(default=[None], min_length=1)
    rounds: int | None = Field(default=None, ge=1)
    classes: int | None = Field(default=None, ge=1)
    plain: bool = False
    compile: bool = False
    activation_checkpointing: bool = False
    ema: bool = False
    find_batch: bool = False
    memory: bool = True
    captions: Captions | None = None
    estimate: list[int] = Field(default_factory=list)
    nodes: int | None = Field(default=None, ge=1)
    inside: Network = INSIDE
    between: Network = BETWEEN
    seed: int = 0

    def comparisons(self, device: torch.device) -> list[Comparison]:
        """ViT-B-16 and 256 images on a GPU, ViT-S-16 and 8 elsewhere, where nothing else is asked for."""
        model, batch_size = ("ViT-B-16", 256) if device.type == "cuda" else ("ViT-S-16", 8)
        return [
            Comparison(
                model=name,
                image_size=size,
                precision=precision,
                batch_size=rows,
                classes=self.classes,
                seed=self.seed,
                compile=self.compile,
                activation_checkpointing=self.activation_checkpointing,
                ema=self.ema,
            )
            for name, size, precision, rows in product(
                self.models or [model], self.image_sizes, self.precisions, self.batch_sizes or [batch_size]
            )
        ]

    def clusters(self, processes: int) -> list[Cluster]:
        """Where the paper's protocol is estimated; UsageError where devices don't fit the nodes."""
        found = []
        for count in self.estimate or [processes]:
            if self.nodes is not None and count % self.nodes:
                raise UsageError(
                    f"{count} devices are not a multiple of {self.nodes} nodes", "change --nodes"
                )
            per_node = 8 if self.nodes is None else count // self.nodes
            found.append(Cluster(count, per_node, self.inside, self.between))
        return found


def step(settings: StepSettings, progress: Progress = SILENT, *, cpu: bool = False) -> StepBenchmark:
    """Measure all objectives on this machine, in every process that a launcher has started.

    cpu: leave GPUs alone.
    UsageError for a configuration that cannot be compared, OutOfMemory where a batch does not fit.
    """
    world = World(cpu=cpu)
    progress = progress if world.is_main else SILENT
    comparisons = settings.comparisons(world.device)
    sides = [
        entries(settings.objectives, settings.contexts, one, plain=settings.plain) for one in comparisons
    ]
    if settings.plain and (settings.ema or settings.activation_checkpointing or settings.compile):
        raise UsageError(
            "plain steps average nothing, compute nothing again and are not compiled", "leave out --plain"
        )
    clusters = settings.clusters(world.size)
    if settings.find_batch:
        must_search(world)
    encode: dict[str, Encode] = {}
    if settings.captions is not None and world.is_main:
        progress.note(f"counting a vocabulary of {len(settings.captions.texts):,} captions")
        encode = encoders(settings.objectives, settings.captions.texts, settings.captions.name)
    captions = [] if settings.captions is None else settings.captions.texts
    measured = [
        Case(
            one,
            found,
            world,
            progress,
            encode=encode,
            captions=captions,
            clusters=clusters,
            find_batch=settings.find_batch,
            memory=settings.memory,
        )
        for one, found in zip(comparisons, sides, strict=True)
    ]
    cases = [case.measured(settings.rounds) for case in measured]
    network = measured[-1].network
    world.close()
    return StepBenchmark(
        protocol="training step, same batch: "
        + "; ".join(f"{one.model}, {one.image_size} px, {one.precision}, {one.batch_size}" for one in cases),
        seed=settings.seed,
        data={"images": "synthetic", "labels": "synthetic", "captions": "synthetic"},
        device=world.device.type,
        clock="core time" if world.device.type == "cpu" and world.size == 1 else "wall clock",
        processes=world.size,
        classes=settings.classes,
        optimiser={"name": "AdamW", **OPTIMISER.model_dump(mode="json")},
        compiled=settings.compile,
        activation_checkpointing=settings.activation_checkpointing,
        ema=settings.ema,
        captions="" if settings.captions is None else settings.captions.name,
        network=network,
        assumed={"inside": settings.inside, "between": settings.between},
        cases=cases,
    )
