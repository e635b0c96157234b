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

from catlipctl.data.sample import Sample
from catlipctl.settings.models import TextSettings

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
    """A sample's first captions as `tokens [B, L]`, int64, ended and padded as open_clip does.

    captions: how many; of several the tokens are `[B, C, L]`. A sample that has fewer begins anew with its
    first one. No caption is an empty one.
    """

    context_length: int
    captions: int = 1

    def __call__(
        self,
        samples: Sequence[Sample],
        positions: NDArray[np.int64],  # noqa: ARG002
    ) -> dict[str, Tensor]:
        each = [sample.captions or ("",) for sample in samples]
        texts = [own[number % len(own)] for own in each for number in range(self.captions)]
        tokens = tokenise(texts, self.context_length)
        return {"tokens": tokens if self.captions == 1 else tokens.unflatten(0, (len(each), self.captions))}


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
