"""Accuracy by how much was labelled: a line an init, and zero-shot by none of it (CatLIP, Figure 7)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from catlipctl.reports.style import MUTED, canvas, colours, end_labels, logarithmic
from catlipctl.reports.transfer import CHANCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ZERO_SHOT = "zero-shot"
NAMES = {("fast", "transfer"): "Transfer Init", ("fast", "random"): "tuned random"}


class SizeScore(BaseModel):
    """An init's mean accuracy at one train size, in 0..1; the interval is over the seeds."""

    model_config = ConfigDict(extra="ignore")

    protocol: str = "fast"
    init: str
    train_size: str
    train_images: int
    seeds: int
    acc1: float
    acc1_interval: tuple[float, float] | None = None


class TrainSizes(BaseModel):
    """What a report says of a curve's `result.json`."""

    model_config = ConfigDict(extra="ignore")

    protocol: str
    by_train_size: list[SizeScore]
    zero_shot_acc1: float | None = None
    majority_share: float
    split: str = ""
    random_backbone: bool = False


def train_sizes(
    scores: Sequence[SizeScore],
    *,
    zero_shot: float | None = None,
    chance: float | None = None,
    subtitle: str = "",
) -> "Figure":
    """Top-1 accuracy by training images, a line a protocol and init, its interval over the seeds as a band.

    zero_shot: a flat line. chance: share of the largest class, a dashed one. Raises MachineError without
    matplotlib.
    """
    figure, axes = canvas("What labels are worth", subtitle)
    lines = dict.fromkeys((score.protocol, score.init) for score in scores)
    names = {line: NAMES.get(line, f"{line[1]}, {line[0]}") for line in lines}
    flat = {ZERO_SHOT: zero_shot} if zero_shot is not None else {}
    colour = colours([*names.values(), *flat])
    images = [score.train_images for score in scores]
    ends, top = {}, max([chance or 0, *flat.values()])
    for key in lines:
        line = sorted((s for s in scores if (s.protocol, s.init) == key), key=lambda s: s.train_images)
        x, bands = [s.train_images for s in line], [s.acc1_interval or (s.acc1, s.acc1) for s in line]
        shade = colour[names[key]]
        axes.plot(
            x, [s.acc1 for s in line], "o-", color=shade, markersize=5, gid="train-sizes-" + "-".join(key)
        )
        axes.fill_between(
            x, [low for low, _ in bands], [high for _, high in bands], color=shade, alpha=0.13, linewidth=0
        )
        ends[names[key]] = (float(x[-1]), line[-1].acc1)
        top = max(top, *(high for _, high in bands))
    for name, value in flat.items():
        axes.axhline(value, color=colour[name], linewidth=1.6, gid="train-sizes-zero-shot")
        ends[name] = (float(max(images)), value)
    if chance is not None:
        axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        ends[CHANCE], colour[CHANCE] = (float(max(images)), chance), MUTED
    logarithmic(axes, "x", min(images), max(images))
    axes.set_xlim(0.85 * min(images), 1.05 * max(images))
    axes.set_ylim(0, min(1.05, 1.15 * top))
    axes.set_xlabel("training images")
    axes.set_ylabel("top-1 accuracy")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    end_labels(axes, ends, colour)
    return figure
