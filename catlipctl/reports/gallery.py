"""Pictures with what a classifier said of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from catlipctl.reports.style import INK, PALETTE, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 8


class Picture(NamedTuple):
    """An image file, its true label, and the most probable one."""

    path: Path
    truth: str
    guess: str
    probability: float


def gallery(pictures: Sequence[Picture], subtitle: str = "") -> "Figure":
    """Thumbnails in rows; below each what was said, and where that is wrong the truth in the second line."""
    rows = -(-len(pictures) // COLUMNS)
    figure, axes = canvas("What it says of images that it never saw", subtitle, size=(7.4, 0.6 + 1.22 * rows))
    axes.set_axis_off()
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(1.45 * rows, 0)
    for i, picture in enumerate(pictures):
        left, top = i % COLUMNS, 1.45 * (i // COLUMNS)
        image = Image.open(picture.path).convert("RGB")
        axes.imshow(image, extent=(left + 0.1, left + 0.9, top + 0.8, top), aspect="auto")
        right = picture.guess == picture.truth
        said = f"{picture.guess} {picture.probability:.0%}" + ("" if right else f"\n({picture.truth})")
        colour = INK if right else PALETTE[1]
        axes.text(left + 0.5, top + 0.86, said, ha="center", va="top", color=colour, fontsize=7.5)
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(1.45 * rows, 0)
    return figure
