"""The extractor `subword` equals open_clip's tokeniser; the bag of its ids is SuperClass's target."""

import gzip
import json
import pickle
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import open_clip
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catlipctl import data, labels, vocabulary
from catlipctl.labels import bpe

EXTRACT = labels.extractor("subword")
OPEN_CLIP = open_clip.tokenizer.SimpleTokenizer()


def differing(captions: list[str]) -> list[str]:
    """Captions whose keys are not, in order, the ids that open_clip gives, with all padding as one."""
    ids = OPEN_CLIP(captions, 77).tolist()
    return [c for c, theirs in zip(captions, ids, strict=True) if not same(EXTRACT(c), theirs)]


def same(keys: list[str], theirs: list[int]) -> bool:
    ours = [OPEN_CLIP.encoder[key] for key in keys]
    end = len(theirs)
    while theirs[end - 1] == 0:
        end -= 1
    unpadded = theirs[:end]
    return set(ours) == set(theirs) and ours == ([*unpadded, 0] if end < 77 else unpadded)


def test_keys_read_as_clips_vocabulary_writes_them() -> None:
    start, end, pad = "<start_of_text>", "<end_of_text>", "!"
    assert EXTRACT("A Skateboarder's dogs!") == [
        *(start, "a</w>", "skate", "boarder</w>", "'s</w>", "dogs</w>", "!</w>", end, pad)
    ]
    assert EXTRACT("") == [start, end, pad]
    assert EXTRACT("dog " * 75) == [start, *["dog</w>"] * 75, end]
    assert EXTRACT("dog " * 74) == [start, *["dog</w>"] * 74, end, pad]


@pytest.mark.slow
def test_29000_captions_of_people(shared_data: Path) -> None:
    with gzip.open(shared_data / "captions/multi30k-29k.en.txt.gz", "rt", encoding="utf-8") as stream:
        captions = stream.read().splitlines()
    assert len(captions) == 29_000
    assert differing(captions) == []


@pytest.mark.slow
def test_captions_of_all_pairs(shared_data: Path) -> None:
    source = data.open_source([str(shared_data / "pairs" / "*.tar")])
    captions = [text for texts in source.captions() for text in texts]
    assert len(captions) == 12_256
    assert differing(captions) == []


@pytest.mark.slow
def test_what_packages_say_of_themselves() -> None:
    texts = [(found.read_text("METADATA") or "") for found in distributions()]
    lines = {line.strip() for text in texts for line in text.splitlines()}
    assert differing(sorted(lines)) == []
    assert differing([text for text in texts if len(text) < 20_000]) == []


ODD = [
    *("&amp;", "&amp;lt;", "&lt;b&gt;", "&#233;", "&#xD800;", "&#x1c;", "&#10;", "&#38;amp;amp;", "&eacute"),
    *("<b>", "<", "<end_of_text>", "<START_OF_TEXT>", "<\u017ftart_of_text>", "end_of_text"),
    *("🐶", "👩‍🚒", "🇨🇦", "一只狗", "собаки", "ＤＯＧ", "ﬁsh", "İ", "ẞ", "ΟΔΟΣ", "K", "café", "cafe\u0301"),
    *(" ", "  ", "\t", "\n", "\r\n", "\r", "\xa0", "\u2028", "\u3000", "\x1c", "\x1f", "\x85", "\x0b"),
    *("\x00", "\x1b[31m", "\x7f", "\ufeff", "\u200b", "\u180e", "\ud800", "\udcff", "\ufffd", "do\xadgs"),
    *("Ã©", "â€™", "Â", "ï»¿", "'s", "'ll", "'\u017f", "’t", "“dog”", "''", "!", "!!", "!!!!!!!!", "..."),
    *("--", "_", "#dog", "@", "½", "²", "2,000", "1st", "x2", "skateboarding", "DOGS", "a" * 23),
]
PIECES = st.one_of(st.sampled_from(ODD), st.text(max_size=6), st.text("abcdefghij'!&;#<> \n", max_size=12))
CAPTIONS = st.builds(
    lambda joint, pieces, times: joint.join(pieces) * times,
    st.sampled_from(["", " ", "\n"]),
    st.lists(PIECES, max_size=60),
    st.sampled_from([1, 1, 1, 40]),
)


@pytest.mark.slow
@settings(max_examples=2_000, database=None, suppress_health_check=list(HealthCheck))
@given(caption=CAPTIONS)
def test_adversarial_captions(caption: str) -> None:
    assert differing([caption]) == []
    words = EXTRACT.explain(caption)
    assert [word.key for word in words if word.kept] == EXTRACT(caption)


@pytest.mark.slow
@settings(max_examples=100, database=None, suppress_health_check=list(HealthCheck))
@given(
    word=st.one_of(
        *(st.text(letters, min_size=513, max_size=1500) for letters in ("ab", "a!.", "etaoin", "狗在"))
    )
)
def test_long_words_are_cut_off_without_a_trace(word: str) -> None:
    assert differing([word]) == []


@pytest.mark.parametrize("repeated", ["a", "!", "ab", "the", "🐶", "thequickbrownfox", "=-", "😍😂"])
def test_words_of_one_thing_repeated(repeated: str) -> None:
    assert differing([repeated * 600]) == []


def test_each_merge_is_of_what_earlier_ones_made() -> None:
    """What merging one pair at a time relies on: a merge never makes a pair that should have come before."""
    ranks = {made: rank for rank, made in enumerate(bpe._merges().made)}
    assert len(ranks) == len(bpe._merges().made) == 48_894
    for (first, second), rank in bpe._merges().ranks.items():
        assert max(ranks.get(first, -1), ranks.get(second, -1)) < rank


@pytest.mark.parametrize("piece", ["a dog ", "a", "!", "é dog\n", "&amp;", "狗"])
def test_a_megabyte_is_read_as_far_as_it_counts(piece: str) -> None:
    caption = piece * (1_000_000 // len(piece))
    assert EXTRACT(caption) == EXTRACT(caption[:20_000]) != EXTRACT("")
    assert len(EXTRACT(caption)) == 77


def test_it_travels_to_workers_without_torch_or_open_clip() -> None:
    packed = pickle.dumps(EXTRACT)
    script = (
        "import json, pickle, sys\n"
        f"keys = pickle.loads({packed!r})('the dogs')\n"
        "print(json.dumps([keys, sorted({'torch', 'open_clip'} & set(sys.modules))]))"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert json.loads(ended.stdout) == [EXTRACT("the dogs"), []]


def test_what_it_says_of_a_caption() -> None:
    words = EXTRACT.explain("Skateboarder")
    assert [(word.token, word.why) for word in words[1:-2]] == [
        ("skateboarder", f"part {number} of a word") for number in (1, 2)
    ]
    cut = EXTRACT.explain("dog " * 90)
    assert [word.token for word in cut if not word.kept] == ["..."]
    assert EXTRACT.reach() is None


def test_a_megabyte_of_a_word_is_not_told_with_each_part() -> None:
    assert sum(len(word.token) for word in EXTRACT.explain("x" * 1_000_000)) < 10_000


def test_what_a_sub_word_says() -> None:
    ids = OPEN_CLIP.encoder
    texts = {key: bpe.text(key) for key in ids}
    # Theirs has a space for the end of a word.
    said = {key: OPEN_CLIP.decode([ids[key]])[: -1 if key.endswith("</w>") else None] for key in ids}
    whole = {key for key, text in said.items() if text.isprintable() and "\ufffd" not in text}
    assert len(whole) > 48_000
    assert {key: texts[key] for key in whole} == {key: said[key] for key in whole}
    assert texts["dog</w>"] == "dog"


def test_the_keys_by_id_are_clips_vocabulary() -> None:
    keys = bpe.keys()
    assert {key: number for number, key in enumerate(keys)} == OPEN_CLIP.encoder
    found = vocabulary.of_sub_words("subword-without-stop-words")
    assert (found.keys, found.extractor_version) == (tuple(keys), CONTENT.version)


CONTENT = labels.extractor("subword-without-stop-words")


@given(st.lists(st.sampled_from(["the", "Dogs", "isn't", "of", "skateboards!", "it's", "cat"]), max_size=120))
def test_without_stop_words_a_caption_reads_as_one_that_had_none(words: list[str]) -> None:
    """The rest of a long caption moves up. What is explained as kept is what is read."""
    left = {"the": "", "isn't": "", "of": "", "it's": ""}
    said = " ".join(words)
    assert CONTENT(said) == EXTRACT(" ".join(left.get(word, word) for word in words))
    assert [word.key for word in CONTENT.explain(said) if word.kept] == CONTENT(said)
    assert pickle.loads(pickle.dumps(CONTENT))(said) == CONTENT(said)
