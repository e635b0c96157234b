"""Tokens and the text tower against open_clip's own."""

import pickle

import numpy as np
import open_clip
import pytest
import torch
from pydantic import ValidationError

from catlipctl.data.sample import Sample
from catlipctl.models import text
from catlipctl.models.text import TokenCollate, create_text_tower
from catlipctl.settings.models import TextSettings

CAPTIONS = (
    "Two dogs &amp; a CAT on a beach",
    "",
    "naïve café 東京",
    "word " * 100,
    "<end_of_text> it's 1,000",
)


def samples(*captions: tuple[str, ...]) -> list[Sample]:
    return [Sample(str(i), None, one) for i, one in enumerate(captions)]


@pytest.mark.parametrize("length", [8, 77])
def test_tokens_are_open_clips(length: int) -> None:
    collate = pickle.loads(pickle.dumps(TokenCollate(length)))
    found = collate(samples(*((caption,) for caption in CAPTIONS)), np.arange(5))
    assert set(found) == {"tokens"}
    assert torch.equal(found["tokens"], open_clip.tokenize(list(CAPTIONS), length))
    assert found["tokens"].dtype == torch.int64


def test_no_caption_is_an_empty_one() -> None:
    found = TokenCollate(8)(samples(()), np.arange(1))["tokens"]
    assert torch.equal(found, open_clip.tokenize([""], 8))


def test_several_captions_begin_anew_where_there_are_fewer() -> None:
    found = TokenCollate(4, captions=3)(samples(("dog", "cat"), (), ("a", "b", "c", "d")), np.arange(3))
    words = ["dog", "cat", "dog", "", "", "", "a", "b", "c"]
    assert torch.equal(found["tokens"], open_clip.tokenize(words, 4).reshape(3, 3, 4))


def test_words_are_not_remembered_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "REMEMBERED_WORDS", 50)
    captions = [f"unheard{i} of <start_of_text>" for i in range(60)]
    for _ in range(3):
        found = [text.tokenise([caption], 9) for caption in captions]
        assert torch.equal(torch.cat(found), open_clip.tokenize(captions, 9))
        assert len(text._tokenizer().cache) < 60


def test_the_tower_is_open_clips_by_name_and_value() -> None:
    settings = TextSettings(width=24, heads=2, layers=2, context_length=9)
    ours = create_text_tower(settings, 16)
    tokens = open_clip.tokenize(["a dog", "the cat sat"], 9)
    theirs = open_clip.CustomTextCLIP(
        16,
        vision_cfg={"layers": 1, "width": 64, "patch_size": 16, "image_size": 32},
        text_cfg={"width": 24, "heads": 2, "layers": 2, "context_length": 9},
    )
    theirs.text.load_state_dict(ours.state_dict())
    assert torch.equal(ours(tokens), theirs.encode_text(tokens))


def test_the_default_is_open_clips_vit_b() -> None:
    config = open_clip.get_model_config("ViT-B-16")
    assert TextSettings().model_dump() == config["text_cfg"]


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="do not divide"):
        TextSettings(width=30, heads=4)
