"""The text tower of CLIP, open_clip's own with its names and initialisation, and captions as its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from open_clip.model import CLIPTextCfg, _build_text_tower
from open_clip.tokenizer import SimpleTokenizer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from catlipctl.data.draws import GOLDEN, MASK, hashed, uniform
from catlipctl.data.sample import Sample

VOCABULARY_SIZE = 49408
"""Tokens of CLIP's byte-pair encoding, whose merges open_clip ships."""
CAPTION_DRAW = 1 << 32
"""Draw of a position that chooses its caption; the first few are the crop's."""
REMEMBERED_WORDS = 1 << 17


class TextSettings(BaseModel):
    """A causal transformer over tokens; the defaults are those of open_clip's ViT-B models.

    width: numbers a token. heads: of attention; they divide the width. context_length: tokens a caption,
    of which the first and the last say where it starts and ends; a longer caption is cut.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=512, ge=1)
    heads: int = Field(default=8, ge=1)
    layers: int = Field(default=12, ge=1)
    context_length: int = Field(default=77, ge=3)
    vocab_size: int = Field(default=VOCABULARY_SIZE, ge=VOCABULARY_SIZE)

    @model_validator(mode="after")
    def _divisible(self) -> "TextSettings":
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide the width {self.width}")
        return self


def create_text_tower(settings: TextSettings, embed_dim: int) -> nn.Module:
    """A freshly initialised text tower: tokens `[B, L]` to features `[B, embed_dim]`, not normalised."""
    tower: nn.Module = _build_text_tower(embed_dim, CLIPTextCfg(**settings.model_dump()))
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
