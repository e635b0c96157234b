"""A tower that is at hand, for images of other sizes than its own."""

import copy
from collections.abc import Collection
from typing import Any

import timm
import torch
from timm.models import get_model_args
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from catlipctl.errors import UsageError
from catlipctl.models.tower import TimmTower, Tower


def resized(
    tower: Tower, size: int | None = None, sizes: Collection[int] = (), *, crop_pct: float | None = None
) -> Tower:
    """A copy of a tower whose own size is `size` (None: as it is), and that takes images of `sizes`, too.

    Position embeddings are resampled for its own size for good, and for each other one as an image comes,
    both by timm's rule: bicubic, in two dimensions. `vit_*_catlip_224` has its own rule, and always stores
    the same ones.
    crop_pct: the share that evaluation crops; None: the tower's own. It is saved as a tower of its own size
    alone. Raises UsageError for a size that it does not take.
    """
    module: Any = copy.deepcopy(tower.module)
    own = size or tower.preprocessing.size
    wanted = sorted({own, *sizes})
    # A patch embedding drops the pixels over.
    patch = getattr(getattr(module, "patch_embed", None), "feat_ratio", lambda: 1)()
    for odd in (each for each in wanted if each % patch):
        raise _refused(tower, odd, ValueError(f"they are not divisible by its patch of {patch}"))
    if own != tower.preprocessing.size and hasattr(module, "set_input_size"):
        try:
            module.set_input_size(img_size=(own, own))
        except Exception as error:  # timm's towers raise what they like
            raise _refused(tower, own, error) from error
    changes: dict[str, Any] = {"input_size": (3, own, own)}
    if crop_pct is not None:
        changes["crop_pct"] = crop_pct
    module.pretrained_cfg = module.default_cfg = {**module.pretrained_cfg, **changes}
    if _first_fault(module, wanted) and isinstance(module, VisionTransformer | Eva):
        module = _of_any_size(module)
    if (fault := _first_fault(module, wanted)) is not None:
        raise _refused(tower, *fault)
    return TimmTower(module)


def _of_any_size(module: Any) -> Any:
    """The same weights in a tower that resamples its positions for each image's size."""
    arguments = {**module._model_args, **get_model_args(module)}
    name = module.pretrained_cfg["architecture"]
    config = dict(module.pretrained_cfg)
    made: Any = timm.create_model(
        name, pretrained=False, pretrained_cfg=config, **{**arguments, "dynamic_img_size": True}
    )
    made.load_state_dict(module.state_dict())
    # What is saved opens everywhere at its own size.
    made._model_args.pop("dynamic_img_size")
    made._traits["fixed_input_size"] = True
    return made.train(module.training)


@torch.inference_mode()
def _first_fault(module: Any, sizes: Collection[int]) -> tuple[int, Exception] | None:
    """A size at which a tower fails, and how; on the meta device if it knows that, at no cost."""
    try:
        device, tried = "meta", copy.deepcopy(module).to("meta").eval()
        tried(torch.zeros(1, 3, *module.pretrained_cfg["input_size"][1:], device=device))
    except Exception:  # not this device, or not its own size: which shows again
        device, tried = "cpu", copy.deepcopy(module).eval()
    for size in sizes:
        try:
            tried(torch.zeros(1, 3, size, size, device=device))
        except Exception as error:  # timm's towers raise what they like
            return size, error
    return None


def _refused(tower: Tower, size: int, error: Exception) -> UsageError:
    return UsageError(
        f"{tower.name} takes no images of {size} px: {(str(error) or type(error).__name__).splitlines()[0]}",
        "leave image_size and sizes out, choose sizes divisible by its patch, or take another tower",
    )
