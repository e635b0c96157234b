"""The door to what SuperClass's code saves: a ViT of open_clip's, and a head of one output a token."""

from collections.abc import Mapping
from typing import Any

import torch

from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.doors import clip_vit
from catlipctl.checkpoints.doors.fitting import (
    Fitted,
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
from catlipctl.settings.models import ModelSettings

_VISUAL = "visual."
_NAMES = {
    r"^head\.norm\.": "text_decoder.ln_mlp.",
    r"^head\.fc\.": "text_decoder.text_projection.",
    # Whatever is not of the head is the tower's.
    r"^(?!text_decoder\.)": _VISUAL,
}
_IGNORED = {"cap_fq|num_samples": "how often each token was seen, which only training uses"}
_NATIVE = {(768, 16): "vit_base_patch16", (1024, 16): "vit_large_patch16", (1024, 14): "vit_large_patch14"}
_DEPTHS = {768: 12, 1024: 24}


def load(name: str, weights: bool) -> Checkpoint:
    """The tower and the head of the file `name`: an `epoch_N.pt` or `step_N.pt`, or its state dict alone.

    The classes are the 49,408 tokens of CLIP's byte-pair encoding, which no label set names. Raises
    CheckpointError for a file of other keys or shapes, and for one that can't be read.
    """
    found = read_file(name)
    settings, classes = recognised(name, found)
    fitted = fitted_to(name, found, settings, classes)
    tower = made(name, settings, classes)
    if weights:
        fill(tower, fitted.tensors)
    tower.module.eval()
    spelling = f"superclass:{name}"
    return Checkpoint(path=None, tower=tower, config={"from": spelling, **fitted.account}, spelling=spelling)


def recognised(name: str, found: Mapping[str, Any]) -> tuple[ModelSettings, int]:
    """What makes the tower that a state dict holds, and the number of its classes. Raises CheckpointError."""
    shape = clip_vit.recognised(found, _VISUAL)
    if shape is None:
        raise CheckpointError(
            f"{name} holds no tower of SuperClass's: it has no visual.transformer.resblocks.0.ln_1.weight",
            "name a checkpoint that SuperClass's code wrote",
        )
    native = _NATIVE.get((shape.width, shape.patch))
    arguments: dict[str, Any] = {}
    if native is None:
        heads = max(1, shape.width // clip_vit.HEAD_WIDTH)
        arguments |= {"embed_dim": shape.width, "num_heads": heads, "patch_size": shape.patch}
    if shape.depth != _DEPTHS.get(shape.width):
        arguments["depth"] = shape.depth
    if shape.hidden != 4 * shape.width:
        arguments["mlp_ratio"] = shape.hidden / shape.width
    classes = most(sizes(shapes_of(found, "text_decoder."), r"text_projection\..+", 0))
    architecture = f"{native or 'vit_base_patch16'}_superclass_224"
    return ModelSettings(name=architecture, image_size=shape.side, model_args=arguments), classes


def fitted_to(name: str, found: Mapping[str, Any], settings: ModelSettings, classes: int) -> Fitted:
    """The tensors of a state dict by timm's names; nothing is allocated. Raises CheckpointError."""
    with torch.device("meta"):
        module = made(name, settings, classes).module
    _, positions, width = module.pos_embed.shape
    names = {**clip_vit.NAMES, **_NAMES}
    return fit(name, found, places_of(module, names, clip_vit.shapes(width, positions)), _IGNORED)
