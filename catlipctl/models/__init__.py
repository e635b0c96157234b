"""Image towers: any of timm's by name. Importing this registers CatLIP's and SuperClass's ViT with timm."""

from catlipctl.models.building import Counts, check, counts, create, flops, start_bias
from catlipctl.models.catlip_vit import CatlipVisionTransformer
from catlipctl.models.range_augment import RangeAugment
from catlipctl.models.resizing import resized
from catlipctl.models.superclass_vit import SuperclassVisionTransformer
from catlipctl.models.token_drop import TokenDrop, add_token_drop
from catlipctl.models.tower import TimmTower, Tower

__all__ = [
    "CatlipVisionTransformer",
    "Counts",
    "RangeAugment",
    "SuperclassVisionTransformer",
    "TimmTower",
    "TokenDrop",
    "Tower",
    "add_token_drop",
    "check",
    "counts",
    "create",
    "flops",
    "resized",
    "start_bias",
]
