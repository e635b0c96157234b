"""What every training run is told: how long, at which sizes, how it steps, averages and saves."""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from catlipctl.errors import UsageError
from catlipctl.recipe.schema import Section
from catlipctl.settings import MOST_STEPS, Epochs, Images, Pixels, Rate, Steps

Precision = Literal["auto", "bfloat16", "tf32", "float32"]
Tracker = Literal["tensorboard", "wandb"]
Sharding = Literal["none", "full", "hybrid"]
OptimiserName = Literal["adamw", "lars", "muon"]
Beta = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1000)]
A_YEAR = 366 * 24 * 60
"""In minutes."""
TOO_MUCH_LEFT = 0.01
"""Share of the initial weights in the final average from which a run is warned."""


class OptimiserSettings(Section):
    """AdamW, LARS or Muon, without weight decay on vectors."""

    read_by: ClassVar[dict[str, tuple[OptimiserName, ...]]] = {
        "betas": ("adamw", "muon"),
        "momentum": ("lars",),
        "trust": ("lars",),
    }
    """Keys that not all optimisers read."""

    name: OptimiserName = "adamw"
    """`lars` scales each matrix's gradient by the norm of its weights. `muon` moves hidden matrices
    alike in all directions, convolutions among them, and all else by AdamW, at AdamW's rates; it needs whole
    matrices, so `sharding: none`. [AdamW in CatLIP Table 6; You et al. 2017; Jordan et al. 2024]"""
    lr: float = Field(default=1e-3, gt=0, le=100)
    """The learning rate at its peak. [CatLIP Table 6b, ViT-B]"""
    lr_per: Images | None = None
    """`lr` is of so many images a step: the peak is lr x global_batch_size / lr_per. null: `lr` is the peak.
    [256 in MAE's linear probe]"""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW's, also beside Muon: of the averages of the gradient and of its square. [CatLIP Table 6]"""
    momentum: Beta = 0.9
    """LARS's: the share of the last step in the next one. [MAE's code]"""
    trust: float = Field(default=1e-3, gt=0, le=1)
    """LARS's: a step's norm over the norm of the weights, at a rate of 1 without momentum. [MAE's code]"""
    eps: float = Field(default=1e-8, gt=0, le=1)
    """What is added to what AdamW divides by, a square root, and LARS, a norm. [released code]"""
    weight_decay: float = Field(default=0.2, ge=0, le=100)
    """AdamW decouples it from the gradient; LARS adds it to the gradient. [CatLIP Table 6]"""
    clip_norm: float | None = Field(default=1.0, gt=0, le=1e9)
    """The gradient is scaled down to this norm; null: left as it is. [released code]"""

    @model_validator(mode="after")
    def _read(self) -> "OptimiserSettings":
        # Against defaults: a saved recipe names all keys.
        for key, readers in self.read_by.items():
            if self.name not in readers and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is of {' and '.join(readers)}, and the optimiser is {self.name}")
        return self

    def peak(self, batch: int) -> float:
        """The learning rate at its peak, of steps of so many images."""
        return self.lr if self.lr_per is None else self.lr * batch / self.lr_per


class ScheduleSettings(Section):
    """The learning rate over the steps: a straight line up to `optimiser.lr`, then half a cosine."""

    warmup_steps: int = Field(default=0, ge=0, le=MOST_STEPS)
    """Steps of the straight line. [10,000 in the released code]"""
    warmup_share: float | None = Field(default=None, ge=0, lt=1)
    """The straight line's share of all steps, instead of `warmup_steps`. [10 of 90 epochs in MAE's linear
    probe]"""
    warmup_lr: Rate = 1e-6
    """The rate at the first step. [released code]"""
    min_lr: Rate = 0.0
    """What the cosine ends at. [a hundredth of the peak in the released code]"""
    decimals: int | None = Field(default=None, ge=0, le=20)
    """Decimal places to which a rate is rounded; null: none. [8 in the released code]"""

    @model_validator(mode="after")
    def _one_warmup(self) -> "ScheduleSettings":
        if self.warmup_share is not None and self.warmup_steps:
            raise ValueError("give warmup_share with warmup_steps=0, or warmup_steps alone")
        return self

    def warmup(self, steps: int) -> int:
        """Steps of the straight line in a run of `steps`."""
        return self.warmup_steps if self.warmup_share is None else round(self.warmup_share * steps)


class EmaSettings(Section):
    """The exponential moving average of the weights, which a checkpoint then holds."""

    momentum: Annotated[float, Field(gt=0, le=1)] | Literal["fit"] | None = None
    """The weight of each new step; `fit` is min(1, 10 / steps), null no average. [5e-4 in CatLIP Table 6]"""

    def of(self, steps: int) -> float | None:
        """The momentum in a run of `steps`.

        Fitted, e^-10 of the initial weights are left at the end, whatever the length.
        """
        return min(1.0, 10 / max(1, steps)) if self.momentum == "fit" else self.momentum


class Length(Section):
    """How long to train: exactly one of the three."""

    exclusive: ClassVar = ("samples", "epochs", "steps")

    samples: Annotated[int, Field(ge=1, le=10**13)] | None = None
    """Images to see, at least; the last step may see a few more."""
    epochs: Epochs | None = None
    """How often to see each pair of the data. [100 of CC3M in CatLIP Table 6a]"""
    steps: Steps | None = None
    """Optimiser steps. [200,000 on DataComp in CatLIP Table 6b; the released loop takes one more]"""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Length":
        given = [name for name in self.exclusive if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of samples, epochs and steps, not {', '.join(given) or 'none'}")
        return self

    @property
    def unit(self) -> str:
        """Which of the three it is."""
        return next(name for name in self.exclusive if getattr(self, name) is not None)

    def in_samples(self, source_size: int | None) -> int | None:
        """Samples to see; None where steps were given, or for epochs of a source of unknown size."""
        if self.epochs is not None:
            return None if source_size is None else math.ceil(self.epochs * source_size)
        return self.samples


class Sizes(Section):
    """Image sizes that change from step to step, around the model's own size, the base.

    `min` and `max` are of the multi-scale variable batch sampler (CatLIP, Appendix A; CoreNet's), which draws
    a size for each step. `from` and `to` are of sizes that grow.
    """

    model_config = ConfigDict(populate_by_name=True)

    min: Pixels | None = None
    """The smallest size to draw, pixels a side. [128 in the released code]"""
    max: Pixels | None = None
    """The largest size to draw. [320 in the released code]"""
    scales: Count = 25
    """Sizes from `min` to `max`, evenly spread, before they are rounded. [released code]"""
    from_: Pixels | None = Field(default=None, alias="from")
    """The size to begin with."""
    to: Pixels | None = None
    """The size to end with."""
    stages: Count = 4
    """Sizes from `from` to `to`, each for as long."""
    multiple: Annotated[int, Field(ge=1, le=1024)] = 16
    """What all sizes are rounded to: the tower's patch, or what it strides by. [released code]"""
    batch: Literal["area", "fixed"] = "area"
    """`area`: each step has as many pixels; `fixed`: each has as many images. [released code: area]"""
    unit: Images | None = None
    """By how many images of the base size a batch is scaled; null: by the whole batch. [the released code
    scales each device's 1,024 and rounds that]"""

    @model_validator(mode="after")
    def _one_kind(self) -> "Sizes":
        kinds = [(self.min, self.max), (self.from_, self.to)]
        if sum(any(bound is not None for bound in kind) for kind in kinds) != 1:
            raise ValueError("give either min and max, or from and to")
        low, high = kinds[0] if kinds[0] != (None, None) else kinds[1]
        if low is None or high is None or low > high:
            raise ValueError("give both bounds, the smaller one first")
        return self

    @property
    def grows(self) -> bool:
        """Small sizes first, or drawn for each step?"""
        return self.from_ is not None

    def choices(self, base: int) -> list[int]:
        """The sizes, ascending, the multi-scale ones with the base among them (reference 2.5)."""
        low, high = (self.from_, self.to) if self.grows else (self.min, self.max)
        assert low is not None
        assert high is not None
        spread = np.linspace(low, high, self.stages if self.grows else self.scales)
        wanted = [*spread, *([] if self.grows else [base])]
        return sorted({int(round(size / self.multiple) * self.multiple) for size in wanted})

    def rows(self, size: int, base: int, batch: int) -> int:
        """Images of a step at a size, over all processes, where one at the base size has `batch`."""
        if self.batch == "fixed":
            return batch
        unit = self.unit or batch
        # As the released sampler rounds: first to two places, then down.
        return max(1, int(round(base * base * unit / (size * size), 2)) * batch // unit)


class TrainingSettings(Section):
    """How a run trains, and nothing about the machine that it runs on. Tasks add what they train on."""

    global_batch_size: Images
    """Images that one step sees, over all processes; with `sizes`, a step at the model's own size.
    [2,048 in CatLIP Table 6a, 65,536 in Table 6b]"""
    length: Length
    sizes: Sizes | None = None
    """Image sizes that change from step to step; null: the model's own."""
    optimiser: OptimiserSettings = Field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    ema: EmaSettings = Field(default_factory=EmaSettings)
    precision: Precision = "auto"
    """Of the forward pass, by autocast; `auto` is bfloat16 on a GPU that computes in it, else float32. `tf32`
    is float32 whose products are rounded to ten bits, on a GPU from Ampere on; float32 is exact there too.
    [bfloat16 in CatLIP's released code]"""
    activation_checkpointing: bool = False
    """Compute the blocks' activations again in the backward pass: less memory, a third more work."""
    compile: bool = False
    """Compile the tower by torch.compile."""
    sharding: Sharding = "none"
    """What each process holds: `none` is all of the weights, gradients and moments (DDP), `full` its share of
    them (FSDP2), `hybrid` its share among the processes of its node (HSDP)."""
    sync_batchnorm: bool = False
    """Take BatchNorm's statistics over all processes' images, as one process does; false: each process over
    its own, so that losses differ with the number of processes. [false in the released code]"""
    device_batch_size: Images | None = None
    """Most images that one device takes at once, at the model's own size; more are accumulated."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Decides the initial weights, the order of the data, crops and sizes."""
    log_every: Steps = 1
    """Steps between rows of `metrics.jsonl`."""
    trackers: list[Tracker] = Field(default_factory=list)
    """Where these rows go, too: TensorBoard's files in the run, wandb. `pip install 'catlipctl[trackers]'`"""
    save_every: Steps | None = None
    """Steps between checkpoints that are kept; there is always one at the end and at a signal."""
    save_minutes: float | None = Field(default=10, gt=0, le=A_YEAR)
    """Minutes between checkpoints of which the next one takes the place."""
    keep_last: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None
    """How many of the checkpoints that are kept stay, the newest ones; null: all."""
    keep_every: Steps | None = None
    """Steps between those that stay whatever `keep_last` says; a multiple of `save_every`."""

    @model_validator(mode="after")
    def _whole_matrices(self) -> "TrainingSettings":
        if self.optimiser.name == "muon" and self.sharding != "none":
            raise ValueError(
                f"sharding: {self.sharding} gives each process some rows of a matrix, and muon needs all of "
                "them: take sharding=none, or optimiser.name=adamw"
            )
        return self

    @model_validator(mode="after")
    def _countable(self) -> "TrainingSettings":
        samples = self.length.samples or 0
        if samples > MOST_STEPS * self.global_batch_size:
            raise ValueError(
                f"length.samples: {samples:,} in steps of {self.global_batch_size:,} images are more than "
                f"{MOST_STEPS:,} steps"
            )
        if self.keep_every is not None and (self.save_every is None or self.keep_every % self.save_every):
            raise ValueError(
                f"keep_every: {self.keep_every:,} is no multiple of save_every, so nothing is saved there"
            )
        return self

    def image_sizes(self, base_size: int) -> list[int]:
        """The sizes that the tower must take."""
        return [base_size] if self.sizes is None else self.sizes.choices(base_size)

    def token_drop(self) -> tuple[float, float]:
        """Share of the patches that a step leaves out; and of the steps, at the end, that leave out none."""
        return 0.0, 0.0

    def must_share_out(self, base_size: int, processes: int) -> None:
        """UsageError where a step has fewer images than there are processes."""
        sizes, batch = self.sizes, self.global_batch_size
        fewest = batch
        if sizes is not None:
            fewest = min(sizes.rows(size, base_size, batch) for size in sizes.choices(base_size))
        if fewest < processes:
            raise UsageError(
                f"a step of {fewest} images cannot be shared out over {processes} processes",
                "raise global_batch_size: give each process an image",
            )

    def warnings(self, steps: int) -> list[str]:
        """What does not fit a run of `steps`."""
        found = []
        momentum = self.ema.of(steps)
        if momentum is not None and (left := left_of_start(momentum, steps)) > TOO_MUCH_LEFT:
            found.append(
                f"after {steps:,} steps the EMA still holds {left:.0%} of the initial weights: "
                "set ema.momentum=fit, or null for no EMA"
            )
        if (warmup := self.schedule.warmup(steps)) >= steps:
            found.append(
                f"the warm-up of {warmup:,} steps never ends in a run of {steps:,}: set schedule.warmup_steps"
            )
        return found

    def learner_options(self, steps: int) -> dict[str, Any]:
        """The keyword arguments that a `Learner` of this run has in common with all others."""
        return {
            "momentum": self.ema.of(steps),
            "compile": self.compile,
            "activation_checkpointing": self.activation_checkpointing,
            "sharding": self.sharding,
            "sync_batchnorm": self.sync_batchnorm,
            "seed": self.seed,
        }


def left_of_start(momentum: float, steps: int) -> float:
    """The share of the initial weights in an average after `steps`: (1 - momentum)^steps."""
    return float((1 - momentum) ** steps)


FREE_ON_RESUME = frozenset(
    {
        "log_every",
        "trackers",
        "save_every",
        "save_minutes",
        "keep_last",
        "keep_every",
        "device_batch_size",
        "compile",
        "activation_checkpointing",
        "sharding",
    }
)
"""Keys that do not change what a step sees.

Nor what it does with it, but for one: a tower with BatchNorm takes its statistics over what one device has at
once, so another `device_batch_size` (like another number of processes) changes them, and resuming warns.
"""

FIXED_ON_RESUME = {
    "ema": "the average goes on as it began",
    "optimiser.name": "its moments are of this optimiser",
}
"""Keys that may not change even where changes are allowed -> why."""
