"""A tower ready for use, and what is known of it: what every origin of checkpoints gives."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from catlipctl.checkpoints.directory import MULTI_LABEL, SINGLE_LABEL, ProblemType, run_of
from catlipctl.models import Tower
from catlipctl.vocabulary import Vocabulary

if TYPE_CHECKING:
    from catlipctl.checkpoints.open_clip import BothTowers

_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Checkpoint:
    """A tower ready for use, and what is known of it.

    path: its directory; None where it came through a door. tower: in eval mode, on the CPU.
    config: what its writer said of it (objective, step, recipe, ...). label_names: one a class of the head.
    problem_type: what turns its logits to probabilities. thresholds: the probability of each class from which
    on it is told of an image; None where they were not fitted. spelling: how it was named, `timm:NAME`, where
    it came through a door. both_towers: in open_clip's form, where a text tower belongs to it.
    """

    path: Path | None
    tower: Tower
    vocabulary: Vocabulary | None = None
    config: dict[str, Any] = field(default_factory=dict)
    label_names: list[str] | None = None
    label_descriptions: dict[str, str] = field(default_factory=dict)
    problem_type: ProblemType = SINGLE_LABEL
    thresholds: Sequence[float] | None = None
    spelling: str = ""
    both_towers: "BothTowers | None" = None

    @property
    def name(self) -> str:
        """What it is called: its path, or its door's spelling."""
        return str(self.path or self.spelling or self.tower.name)

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """What turns the head's logits to probabilities."""
        return "sigmoid" if self.problem_type == MULTI_LABEL else "softmax"

    @property
    def synsets(self) -> Sequence[str] | None:
        """Keys of what the classes of the head mean, one a class; None where nothing says it.

        Those of its vocabulary. Of a foreign head its label names, where they are synsets' keys: ImageNet's
        wnids, as timm has them for the subsets that it knows.
        """
        if self.vocabulary is not None:
            return self.vocabulary.keys
        names = self.label_names or []
        return names if names and all(_WNID.fullmatch(name) for name in names) else None

    @property
    def run(self) -> Path:
        """The folder of its run, where what is made from it is kept; `runs/NAME` for one behind a door."""
        if self.path is None:
            return Path("runs") / self.tower.name
        return run_of(self.path)
