"""Two towers, of images and of texts, as open_clip has them in a folder: read, and a run's written.

`open_clip.create_model("local-dir:DIRECTORY")` opens what is written.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH
from pydantic import BaseModel, ConfigDict, Field
from timm.data import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from timm.models import get_model_args
from torch import Tensor, nn

from catlipctl.errors import CheckpointError, UsageError
from catlipctl.files import FileKind
from catlipctl.models import Tower
from catlipctl.models.text import TextTower, text_tower_of
from catlipctl.objectives.contrastive import LARGEST_SCALE, Contrastive
from catlipctl.objectives.siglip import INITIAL_BIAS, Siglip
from catlipctl.objectives.superclip import Superclip


class _Open(BaseModel):
    """open_clip may say more."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, protected_namespaces=())


class ModelConfig(_Open):
    """`model_cfg`: how open_clip makes both towers."""

    embed_dim: int = Field(ge=1, lt=2**20)
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]
    quick_gelu: bool = False
    init_logit_bias: float | None = None
    multimodal_cfg: dict[str, Any] | None = None


class PreprocessConfig(_Open):
    """`preprocess_cfg`: how images are prepared; open_clip's own defaults."""

    mean: tuple[float, float, float] = OPENAI_CLIP_MEAN
    std: tuple[float, float, float] = OPENAI_CLIP_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"


class OpenClipConfig(_Open):
    """`open_clip_config.json`."""

    model_cfg: ModelConfig
    preprocess_cfg: PreprocessConfig = PreprocessConfig()


OPEN_CLIP = FileKind(
    "an open_clip configuration", 2**20, CheckpointError, "name a model that open_clip opens"
)


@dataclass(frozen=True, eq=False)
class BothTowers:
    """Image tower and text tower in open_clip's form: their configuration, and what reads the weights."""

    config: OpenClipConfig
    tensors: Callable[[], Mapping[str, Tensor]]

    def text_tower(self) -> TextTower:
        """The text tower, its weights read now; for one of which `other_text` says nothing."""
        model = self.config.model_cfg
        module = text_tower_of(model.model_dump())
        tensors = self.tensors()
        prefix = text_prefix(tensors)
        module.load_state_dict({key: tensors[prefix + key] for key in module.state_dict()})
        return TextTower(module.eval(), int(model.text_cfg.get("context_length", DEFAULT_CONTEXT_LENGTH)))

    def projection(self, tower: Tower) -> nn.Module:
        """What makes an embedding of what the tower's head is given: the head, or what stands in its place.

        In a SuperCLIP run's checkpoint the head is the classifier.
        """
        tensors = self.tensors()
        weight, bias = (tensors.get(name) for _, name in projection_names(tower))
        if weight is None:
            return tower.head
        made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        made.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        return made


def other_text(model: ModelConfig) -> str:
    """Why a text tower of open_clip's can't be used here; '' where it can."""
    if model.text_cfg.get("hf_model_name"):
        return "it is one of Hugging Face's transformers"
    if model.text_cfg.get("hf_tokenizer_name") or model.text_cfg.get("tokenizer_kwargs"):
        return "its tokens are not CLIP's"
    return ""


def text_prefix(keys: Iterable[str]) -> str:
    """How the names of a text tower begin in a file: not at all in those of open_clip's class CLIP."""
    return "text." if any(key.startswith("text.") for key in keys) else ""


def open_clip_files(
    objective: Contrastive, weights: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of `open_clip_config.json` and of `open_clip_model.safetensors`.

    weights: a state dict of the objective's if not its own (the EMA).
    open_clip resizes the short side to the image size and has no word for a tower's `crop_pct`.
    Raises UsageError, which says why, for a tower that open_clip cannot make: it hands timm a name, a number
    of outputs and a kind of pooling, and nothing else.
    """
    bias = {"init_logit_bias": INITIAL_BIAS} if isinstance(objective, Siglip) else {}
    config = {
        "model_cfg": {
            **bias,
            "embed_dim": objective.settings.embed_dim,
            "custom_text": True,  # the text tower's names begin with `text.`, as ours do
            "vision_cfg": _vision(objective.tower),
            "text_cfg": objective.settings.text.model_dump(),
        },
        "preprocess_cfg": _preprocessing(objective.tower),
    }
    state = {}
    for name, value in (objective.state_dict() if weights is None else weights).items():
        if name.startswith("model."):
            state[name.replace("model.", "visual.trunk.", 1)] = value
        elif name.startswith("text.") or name == "logit_bias":
            state[name] = value
        elif name == "logit_scale":
            state[name] = value.clamp(0, math.log(LARGEST_SCALE))
    if isinstance(objective, Superclip):
        # Where the projection is the head of a CLIP run, this one has its classifier.
        values = objective.state_dict() if weights is None else weights
        state |= {name: values[f"projection.{end}"] for end, name in projection_names(objective.tower)}
    return config, state


def projection_names(tower: Tower) -> list[tuple[str, str]]:
    """`weight` and `bias` of a projection that is timm's own classifier, and what open_clip calls them."""
    module: Any = tower.module
    return [
        (end, f"visual.trunk.{module.pretrained_cfg.get('classifier')}.{end}") for end in ("weight", "bias")
    ]


def _vision(tower: Tower) -> dict[str, Any]:
    module: Any = tower.module
    if not type(module).__module__.startswith("timm."):
        raise _refusal(f"{tower.name} is not in timm itself")
    arguments = get_model_args(module)
    made = {key: arguments.pop(key, None) for key in ("num_classes", "in_chans", "global_pool", "img_size")}
    arguments.pop("dynamic_img_size", None)  # of the same weights
    if arguments or made["in_chans"] not in (None, 3):
        raise _refusal(f"it has no word for model.model_args ({', '.join(arguments) or 'in_chans'})")
    native = timm.get_pretrained_cfg(tower.name)
    if made["img_size"] and (native is None or made["img_size"] != native.input_size[1:]):
        wanted = f"{native.input_size[-1]} px" if native else "its own size"
        raise _refusal(
            f"{tower.name} is made for {made['img_size'][0]} px here, and by open_clip for {wanted}"
        )
    return {
        "image_size": tower.preprocessing.size,
        "timm_model_name": tower.name,
        "timm_model_pretrained": False,
        "timm_pool": made["global_pool"],
        "timm_proj": "",  # the projection is timm's own classifier
    }


def _preprocessing(tower: Tower) -> dict[str, Any]:
    found = tower.preprocessing
    if found.interpolation not in ("bicubic", "bilinear"):
        raise _refusal(f"it does not resize images by interpolation {found.interpolation!r}")
    return {
        "size": found.size,
        "mode": "RGB",
        "mean": list(found.mean),
        "std": list(found.std),
        "interpolation": found.interpolation,
        "resize_mode": "shortest",
    }


def _refusal(reason: str) -> UsageError:
    return UsageError(
        f"open_clip cannot make this image tower: {reason}",
        "timm opens model.safetensors; for open_clip train one of timm's towers at its own size",
    )
