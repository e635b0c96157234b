"""The extractor `corenet` equals the released label function, composed here from NLTK's own."""

import pickle
import re
from collections.abc import Callable
from itertools import product
from string import ascii_lowercase

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catlipctl import labels
from catlipctl.errors import UsageError
from catlipctl.labels import wordnet

EXTRACT = labels.extractor("corenet")


def names(caption: str) -> list[str]:
    """Labels as the words that they are the first sense of."""
    return [wordnet.nouns().name(key).removesuffix(".n.01") for key in EXTRACT(caption)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("An image of black dog.", "image black dog"),
        (
            "A hot dog stand in New York City. Women and men walking their dogs",
            "dog york city woman dog",
        ),
        ("Toyota+Camry+2010%20photo", "toyota"),
        ("<b>Vintage</b> automobile &amp; bicycles t-shirt", "vintage bicycle"),
        ("Set of free vector icons", "set free vector icon"),
        ("IMG_2034.JPG", ""),
        ("", ""),
        ("ice_cream cone and ice cream", "ice_cream cone ice cream"),
        ("a dog. a cat", "dog cat"),
        ("gen. lee", "lee"),
    ],
)
def test_captions_whose_labels_were_seen_in_the_released_code(caption: str, expected: str) -> None:
    assert names(caption) == expected.split()


def test_keys_are_those_of_the_released_vocabulary_padded() -> None:
    released = "n5928118 n13333833 n4960277 n7947958 n9638875 n928077 n7996689 n10787470 n5938976 n8559508"
    padded = [f"n{int(key[1:]):08d}" for key in released.split()]
    assert EXTRACT("image stock black free white design set woman template home") == padded


@pytest.mark.parametrize(
    "caption",
    [
        "\ud800 dog \udfff",
        "dog\x00 \x1b[31m \x85 ",
        "%ED%A0%80%FF%zz% dog",
        "<" * 100_000 + " dog",
        "dog " * 250_000,
        ". " * 500_000 + "dog",
        "dog" + "\u0301" * 100_000 + " dog",
        "ï»¿dog â€™",
        "&" + "amp;" * 250_000 + " dog",
        "&" + "#38;#X26;" * 110_000 + " dog",
        ".)" * 500_000 + " dog",
        "dog" + "?!" * 500_000,
        '"' * 1_000_000 + " dog",
        " ".join(f"{a}q{b}{c}." for a, b, c in product(ascii_lowercase, repeat=3)) + " dog",
    ],
    ids=[
        *(
            "surrogates",
            "controls",
            "escapes",
            "brackets",
            "1 MB",
            "full stops",
            "marks",
            "mojibake",
            "nested",
        ),
        *("nested numbers", "closers", "marks that end", "quotes", "sentences"),
    ],
)
def test_nothing_is_fatal(caption: str) -> None:
    assert set(names(caption)) == {"dog"}


def test_the_extractor_travels_to_workers() -> None:
    copy = pickle.loads(pickle.dumps(EXTRACT))
    assert (copy.name, copy.version) == (EXTRACT.name, EXTRACT.version)
    assert copy("the dogs") == EXTRACT("the dogs") == ["n02084071"]


def test_an_unknown_extractor_is_named_beside_the_known() -> None:
    with pytest.raises(UsageError, match="verbs") as raised:
        labels.extractor("verbs")
    assert "corenet" in raised.value.hint


WORDS = re.split(
    " +",
    "a dog cats women men's automobile photo ice_cream hot-dog york gen dr. u.s. e.g. no. st. mr us is in "
    "cannot don't gimme gonna gotta lemme wanna d'ye 'tis 'twas more'n it's dogs' we'll 'n' o'clock",
)
LEMMAS = [lemma for key in wordnet.nouns().keys[::50] for lemma in wordnet.nouns().lemmas(key)]
ENDINGS = ["", "s", "es", "ies", "men", ".", "'s", "s'", "-dog"]
ODD = [
    *("&amp;", "&lt;b&gt;", "&#233;", "&#xD800;", "&eacute", "&nbsp;", "&quot;", "&"),
    *("<b>", "</b>", "<br/>", "<>", "<", ">", "<a href='x'>", "<!-- dog\n -->"),
    *("+", "%20", "%2B", "%3Cb%3E", "%C3%A9", "%ED%A0%80", "%FF", "%", "%zz", "50%"),
    *(
        "🐶",
        "👩‍🚒",
        "🇨🇦",
        "一只狗",
        "собаки",
        "ＤＯＧ",
        "ﬁsh",
        "İ",
        "ß",
        "K",
        "café",
        "cafe\u0301",
        "do\xadgs",
    ),
    *(" ", "  ", "\t", "\n", "\r\n", "\n\n", "\xa0", "\u2028", "\x1c", "\x85", "\x00", "\x1b[31m", "\ufeff"),
    *('"', "'", "''", "``", "`", "“", "”", "‘", "’", "«", "»", "„", "'s", '."', ".'", ".)", '?"'),
    *("-", "--", "---", "–", "—", "_", "/", "\\", "*", "#", "@", "$", "~", "|", "=", "^"),
    *(".", "..", "...", "…", "!", "?", "?!", ",", ":", ";", "(", ")", "[", "]", "{", "}"),
    *("2", "1.", "3.5", "2,000", "1990s", "10-20", "3:4", "1st", "no. 1", "12%", "$5"),
    *("Ã©", "â€™", "Â", "ï»¿", "\ud800", "\udcff"),
]


PIECES = st.one_of(
    st.sampled_from([*WORDS, *(word.upper() for word in WORDS)]),
    st.sampled_from(ODD),
    st.builds(str.__add__, st.sampled_from(LEMMAS), st.sampled_from(ENDINGS)),
    st.text(max_size=4),
)
CAPTIONS = st.builds(str.join, st.sampled_from([" ", " ", ". ", ""]), st.lists(PIECES, max_size=12))


@pytest.mark.slow
@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(captions=st.lists(CAPTIONS, min_size=20, max_size=20))
def test_4000_captions_with_any_characters(captions: list[str], released: Callable[[str], list[str]]) -> None:
    """Fewer than the 200,000 of `test_corenet_exact`, but drawn from all of Unicode, and explained."""
    for caption in captions:
        assert EXTRACT(caption) == released(caption)
        assert [word.key for word in EXTRACT.explain(caption) if word.kept] == EXTRACT(caption)
