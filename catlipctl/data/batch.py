"""What goes from the loader to an objective: one rank's share of a global batch, or a piece of it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Images with sparse labels; nothing in it is of size B x V.

    images: `[B, 3, H, W]`, float32, already normalised.
    rows, classes: `[P]`, int64; pair p says that image `rows[p]` has class `classes[p]`; some have none.
    position: samples that the run had consumed before the first sample of this batch.
    samples: `[B]`, int64, the source's index of each image (after any replacement of an unreadable one).
    captions: one tuple of captions an image, only where the objective asks for them.
    replaced: images that could not be read, each replaced by a neighbour.
    unlabelled: images whose captions gave no label of the vocabulary.
    """

    images: Tensor
    rows: Tensor
    classes: Tensor
    position: int
    samples: Tensor
    captions: tuple[tuple[str, ...], ...] | None = None
    replaced: int = 0
    unlabelled: int = 0

    def __len__(self) -> int:
        return self.images.shape[0]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            rows=self.rows.to(device, non_blocking=True),
            classes=self.classes.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory (torch's loader calls this by its name)."""
        return replace(
            self,
            images=self.images.pin_memory(),
            rows=self.rows.pin_memory(),
            classes=self.classes.pin_memory(),
        )

    def split(self, size: int) -> "list[Batch]":
        """Micro-batches of at most `size` images, in order; on the CPU, since masks make a GPU wait."""
        pieces = []
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            inside = (self.rows >= start) & (self.rows < stop)
            pieces.append(
                replace(
                    self,
                    images=self.images[start:stop],
                    rows=self.rows[inside] - start,
                    classes=self.classes[inside],
                    position=self.position + start,
                    samples=self.samples[start:stop],
                    captions=None if self.captions is None else self.captions[start:stop],
                    replaced=self.replaced if start == 0 else 0,
                    unlabelled=self.unlabelled if start == 0 else 0,
                )
            )
        return pieces
