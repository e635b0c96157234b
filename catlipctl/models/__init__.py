"""Image towers: any of timm's by name. Importing this registers the released CatLIP ViT with timm."""

from catlipctl.models.catlip_vit import CatlipVisionTransformer
from catlipctl.models.tower import ModelSettings, create, features, head, preprocessing

__all__ = ["CatlipVisionTransformer", "ModelSettings", "create", "features", "head", "preprocessing"]
