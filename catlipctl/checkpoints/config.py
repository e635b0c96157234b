"""What `config.json` says: timm's part, so that nothing of another kind reaches timm, and our section."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from catlipctl.checkpoints.directory import ProblemType
from catlipctl.errors import CheckpointError
from catlipctl.files import FileKind

KIND = FileKind("a checkpoint's configuration", 2**28, CheckpointError, "name another checkpoint")
"""The configuration of a million classes is a third of it."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
Channels = Annotated[list[float], Field(min_length=1, max_length=16)]


class _Open(BaseModel):
    """Later versions, timm and others may say more."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class Pretrained(_Open):
    """timm's `pretrained_cfg`, where it says how images are prepared."""

    input_size: tuple[int, int, int] | None = None
    mean: Channels | None = None
    std: Channels | None = None
    interpolation: str | None = None
    crop_pct: Annotated[float, Field(gt=0)] | None = None


class Section(_Open):
    """Our own section: what the checkpoint's writer said of it."""

    format_version: Count | None = None
    objective: str | None = None
    step: Count | None = None
    samples: Count | None = None
    kind: str | None = None
    target: str | None = None
    problem_type: ProblemType | None = None
    thresholds: list[Annotated[float, Field(ge=0, le=1)]] | None = None
    recipe: dict[str, Any] | None = None


class Config(_Open):
    """`config.json`."""

    architecture: str
    num_classes: Count | None = None
    num_features: Count | None = None
    global_pool: str | None = None
    pretrained_cfg: Pretrained = Pretrained()
    model_args: dict[str, Any] | None = None
    label_names: list[str] | None = None
    label_descriptions: dict[str, str] | None = None
    catlipctl: Section = Section()

    def about(self) -> dict[str, Any]:
        """Our section as it was written."""
        return self.catlipctl.model_dump(
            exclude_unset=True, exclude={"format_version", "problem_type", "thresholds"}
        )
