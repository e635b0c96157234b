"""open_clip's ViT under timm's names: the image tower of CLIP models of many makers, and of SuperClass."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from catlipctl.checkpoints.doors.fitting import blocks, most, shapes_of, sizes

HEAD_WIDTH = 64
"""Numbers a head of attention, where nothing else is said."""
NAMES = {
    r"^cls_token$": "class_embedding",
    r"^pos_embed$": "positional_embedding",
    r"^patch_embed\.proj\.": "conv1.",
    r"^norm_pre\.": "ln_pre.",
    r"^(fc_)?norm\.": "ln_post.",
    r"^blocks\.": "transformer.resblocks.",
    r"\.norm(\d)\.": r".ln_\1.",
    r"\.ls(\d)\.": r".ls_\1.",
    r"\.attn\.qkv\.": ".attn.in_proj_",
    r"\.attn\.proj\.": ".attn.out_proj.",
    r"\.mlp\.fc1\.": ".mlp.c_fc.",
    r"\.mlp\.fc2\.": ".mlp.c_proj.",
}
"""timm's names, and open_clip's in their place."""


class Shape(NamedTuple):
    """What a state dict says of its tower; side: of the image, in pixels."""

    width: int
    depth: int
    hidden: int
    patch: int
    side: int


def recognised(found: Mapping[str, Any], prefix: str) -> Shape | None:
    """The tower whose keys begin so, by what most of its tensors say; None where there is none."""
    inside = shapes_of(found, prefix)
    block = r"transformer\.resblocks\.(\d+)\."
    width = most(sizes(inside, rf"{block}ln_\d\..+", 0))
    hidden = most(
        sizes(inside, rf"{block}mlp\.c_fc\..+", 0) + sizes(inside, rf"{block}mlp\.c_proj\.weight", 1)
    )
    if not width or not hidden:
        return None
    patch = most(sizes(inside, r"conv1\.weight", 2)) or 16
    positions = most(sizes(inside, "positional_embedding", 0)) or 197
    side = round((positions - 1) ** 0.5) * patch
    return Shape(width, blocks(inside, block), hidden, patch, min(max(side, 16), 4096))


def shapes(width: int, positions: int) -> dict[str, tuple[int, ...]]:
    """Of the parameters of another shape in the file, by timm's names."""
    return {"cls_token": (width,), "pos_embed": (positions, width)}
