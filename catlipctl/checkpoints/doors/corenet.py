"""The door to what CatLIP released: 23 files of weights by CoreNet, each a flat state dict.

The tower stands in them as a classifier, in DeepLabv3 under `encoder.`, and in Mask R-CNN under
`model.backbone.encoder.`. All keep 14 x 14 positions, whatever the size of the images they were tuned on.
"""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import torch

from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.directory import MULTI_LABEL, SINGLE_LABEL
from catlipctl.checkpoints.doors.fitting import (
    Fitted,
    Ignored,
    blocks,
    fill,
    fit,
    made,
    most,
    places_of,
    read_file,
    shapes_of,
    sizes,
)
from catlipctl.errors import CheckpointError
from catlipctl.labels import targets
from catlipctl.models.catlip_vit import NATIVE_SIZE
from catlipctl.settings.models import ModelSettings

HEAD_WIDTH = 64
"""Numbers a head of attention, in all sizes: the huge one has 20 heads."""
_PREFIXES = ("", "encoder.", "model.backbone.encoder.")
_SIZES = {768: "base", 1024: "large", 1280: "huge"}
_DEPTHS = {768: 12, 1024: 24, 1280: 32}
_NAMES = {
    r"^pos_embed$": "pos_embed.pos_embed.pos_embed",
    r"^patch_embed\.backbone\.(\d+)\.": r"patch_emb.\1.block.",
    r"\.bn\.": ".norm.",
    r"^norm\.": "post_transformer_norm.",
    r"^head\.": "classifier.",
    r"^blocks\.(\d+)\.": r"transformer.\1.",
    r"\.norm1\.": ".pre_norm_mha.0.",
    r"\.attn\.qkv\.": ".pre_norm_mha.1.qkv_proj.",
    r"\.attn\.proj\.": ".pre_norm_mha.1.out_proj_attn.",
    r"\.norm2\.": ".pre_norm_ffn.0.",
    r"\.mlp\.fc1\.": ".pre_norm_ffn.1.",
    r"\.mlp\.fc2\.": ".pre_norm_ffn.4.",
}
"""timm's names, and CoreNet's in their place. The queries, keys and values lie in the same order."""
_IGNORED: dict[str, Ignored] = {
    "": {},
    "encoder.": {r"seg_head\..+": "the segmentation head"},
    "model.backbone.encoder.": {
        r"model\.backbone\.(encoder\.simple_fpn|backbone_proj_layers|fpn_proj_layers|extra_layers)"
        r"\..+": "the detector's feature pyramid",
        r"model\.(rpn|roi_heads)\..+": "the detector's heads",
    },
}
_RANGE_AUGMENT = r"neural_augmentor\.(brightness|contrast|noise)\._(low|high)"
_LABELS = {1000: "imagenet", 365: "places365", 80: "coco"}
"""Label sets of the released classifiers, by their number of classes."""
_VOCABULARY = 24_320


class Shape(NamedTuple):
    """What a state dict says of its tower. prefix: of the tower's keys. classes: 0 without a classifier."""

    prefix: str
    width: int
    depth: int
    hidden: int
    class_token: bool
    classes: int


def load(name: str, weights: bool) -> Checkpoint:
    """The tower of the file `name`, with its classifier where it has one.

    A name that holds `512x512`, as released, and 80 classes (COCO) mean images of 512 pixels a side, which
    are not cropped. A tower of dense tasks has no class token: its feature is the mean of the patches'.
    Raises CheckpointError for a file of other keys or shapes, and for one that can't be read.
    """
    found = read_file(name)
    shape = recognised(name, found)
    settings = settings_of(shape, large="512x512" in PurePath(name).stem or shape.classes == 80)
    fitted = fitted_to(name, found, shape, settings)
    tower = made(name, settings, shape.classes)
    if weights:
        fill(tower, fitted.tensors)
    tower.module.eval()
    names, descriptions = _labels(shape.classes)
    return Checkpoint(
        path=None,
        tower=tower,
        config={"from": f"corenet:{name}", **fitted.account},
        label_names=names,
        label_descriptions=descriptions,
        problem_type=MULTI_LABEL if shape.classes in (80, _VOCABULARY) else SINGLE_LABEL,
        spelling=f"corenet:{name}",
    )


def recognised(name: str, found: Mapping[str, Any]) -> Shape:
    """The tower that a state dict holds, by what most of its tensors say: one alone may be wrong.

    Raises CheckpointError where there is no such tower.
    """
    if "model_state_dict" in found:
        raise CheckpointError(
            f"{name} is what CoreNet's training resumes from",
            "name the weights alone, which lie beside it: checkpoint_ema_last.pt or checkpoint_last.pt",
        )
    begins = [each for each in _PREFIXES if any(key.startswith(f"{each}transformer.") for key in found)]
    prefix = begins[0] if begins else ""
    inside = shapes_of(found, prefix)
    block = r"transformer\.(\d+)\."
    width = most(sizes(inside, rf"{block}pre_norm_(mha|ffn)\.0\..+", 0))
    hidden = most(
        sizes(inside, rf"{block}pre_norm_ffn\.1\..+", 0)
        + sizes(inside, rf"{block}pre_norm_ffn\.4\.weight", 1)
    )
    if not width or not hidden:
        raise CheckpointError(
            f"{name} holds no tower of CatLIP's: it has no transformer.0.pre_norm_ffn.0.weight",
            "name one of the files of weights that CatLIP released",
        )
    heads = [inside[key][0] for key in ("classifier.weight", "classifier.bias") if inside.get(key)]
    if len(set(heads)) > 1:
        raise CheckpointError(
            f"{name}: classifier.weight has {heads[0]:,} rows, and classifier.bias {heads[1]:,}",
            "name the file as it was released",
        )
    return Shape(
        prefix=prefix,
        width=width,
        depth=blocks(inside, block),
        hidden=hidden,
        class_token="cls_token" in inside or not prefix,
        classes=heads[0] if heads else 0,
    )


def settings_of(shape: Shape, *, large: bool = False) -> ModelSettings:
    """What makes the tower of that shape. large: for images of 512 pixels a side."""
    size = _SIZES.get(shape.width, "base")
    arguments: dict[str, Any] = {}
    if shape.width not in _SIZES:
        arguments |= {"embed_dim": shape.width, "num_heads": max(1, shape.width // HEAD_WIDTH)}
    if shape.depth != _DEPTHS.get(shape.width):
        arguments["depth"] = shape.depth
    if shape.hidden != 4 * shape.width:
        arguments["mlp_ratio"] = shape.hidden / shape.width
    if not shape.class_token:
        arguments |= {"class_token": False, "global_pool": "avg"}
    return ModelSettings(
        name=f"vit_{size}_catlip_224",
        image_size=512 if large else NATIVE_SIZE,
        crop_pct=1.0 if large else None,
        model_args=arguments,
    )


def fitted_to(name: str, found: Mapping[str, Any], shape: Shape, settings: ModelSettings) -> Fitted:
    """The tensors of a state dict by timm's names; nothing is allocated. Raises CheckpointError."""
    with torch.device("meta"):
        tower = made(name, settings, shape.classes)
    positions = {"pos_embed": (1, *tower.module.pos_embed.shape)}
    names = {**_NAMES, "^": shape.prefix}
    ignored = {
        re.escape(shape.prefix) + _RANGE_AUGMENT: "RangeAugment's ranges, which only training uses",
        **_IGNORED[shape.prefix],
    }
    return fit(name, found, places_of(tower.module, names, positions), ignored)


def _labels(classes: int) -> tuple[list[str] | None, dict[str, str]]:
    """Names of a released classifier's classes: wnids of ImageNet's, in their order; none of others."""
    if classes not in _LABELS:
        return None, {}
    labels = targets.load(_LABELS[classes]).labels
    if classes != 1000:
        return [label.name for label in labels], {}
    return [label.synsets[0] for label in labels], {label.synsets[0]: label.name for label in labels}
