"""The text tower of CLIP, open_clip's own with its names and initialisation, and captions as its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIPTextCfg, _build_text_tower
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from catlipctl.data.draws import GOLDEN, MASK, hashed, uniform
from catlipctl.data.sample import Sample
from catlipctl.settings.models import TextSettings

CAPTION_DRAW = 1 << 32
"""Draw of a position that chooses its caption; the first few are the crop's."""
REMEMBERED_WORDS = 1 << 17


def create_text_tower(settings: TextSettings, embed_dim: int) -> nn.Module:
    """A freshly initialised text tower: tokens `[B, L]` to features `[B, embed_dim]`, not normalised."""
    tower: nn.Module = _build_text_tower(embed_dim, CLIPTextCfg(**settings.model_dump()))
    return tower


@dataclass(frozen=True, eq=False)
class TextTower:
    """A text tower with what makes its tokens of texts."""

    module: nn.Module
    context_length: int

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> Tensor:
        """What an image's features are compared with, `[N, D]`, not normalised."""
        device = next(self.module.parameters()).device
        return self.module.eval()(tokenise(texts, self.context_length).to(device))


def text_tower_of(model_config: Mapping[str, Any]) -> nn.Module:
    """The text tower that open_clip makes by the `model_cfg` of a model, freshly initialised."""
    text = CLIPTextCfg(**model_config["text_cfg"])
    tower: nn.Module = _build_text_tower(
        model_config["embed_dim"], text, bool(model_config.get("quick_gelu"))
    )
    return tower


@dataclass(frozen=True)
class TokenCollate:
    """One caption a sample as `tokens [B, L]`, int64, ended and padded as open_clip does.

    Of several captions one is taken, as a function of seed and position. No caption is an empty one.
    """

    context_length: int
    seed: int

    def __call__(self, samples: Sequence[Sample], positions: NDArray[np.int64]) -> dict[str, Tensor]:
        pairs = zip(samples, positions, strict=True)
        texts = [self._chosen(sample.captions, int(position)) for sample, position in pairs]
        return {"tokens": tokenise(texts, self.context_length)}

    def _chosen(self, captions: Sequence[str], position: int) -> str:
        if len(captions) < 2:
            return captions[0] if captions else ""
        key = hashed((hashed(self.seed & MASK) + position * GOLDEN) & MASK)
        return captions[int(uniform(key, CAPTION_DRAW) * len(captions))]


def tokenise(texts: Sequence[str], context_length: int) -> Tensor:
    """Tokens `[N, context_length]`, int64, of any texts."""
    tokenizer = _tokenizer()
    if len(tokenizer.cache) > REMEMBERED_WORDS:
        # open_clip remembers every word for ever: gigabytes a worker over a billion captions.
        tokenizer.cache = {token: token for token in ("<start_of_text>", "<end_of_text>")}
    return tokenizer(list(texts), context_length=context_length)


@cache
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()
