"""What a terminal would obey is spelled out; letters of all scripts, and emoji, stay."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl.printable import one_line, printable, printable_json

ANY = st.text(st.characters(exclude_categories=[]))  # surrogates too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jcleared", r"\x1b[2Jcleared"),
        ("\x9b31mred", r"\x9b31mred"),
        ("safe\u202egnp.exe", r"safe\u202egnp.exe"),
        ("isolated\u2066\u2069", r"isolated\u2066\u2069"),
        ("over\rwritten\x08\x07", r"over\rwritten\x08\x07"),
        ("caf\udce9.jpg", r"caf\udce9.jpg"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("żółw 犬 كلب שלום 👩\u200d🚀 \\x1b", "żółw 犬 كلب שלום 👩\u200d🚀 \\x1b"),
    ],
)
def test_what_is_spelled_and_what_stays(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert one_line(text) == shown.replace("\n", r"\n").replace("\t", r"\t")


@given(ANY)
def test_nothing_is_left_that_unicode_calls_a_control(text: str) -> None:
    for shown in (printable(text).replace("\n", "").replace("\t", ""), one_line(text)):
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
        # UAX 9: the explicit directional characters.
        kinds = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        assert not {unicodedata.bidirectional(c) for c in shown} & kinds


@given(st.dictionaries(ANY, ANY))
def test_a_json_document_says_the_same(document: dict[str, str]) -> None:
    shown = printable_json(json.dumps(document, ensure_ascii=False))
    assert printable(shown) == shown
    assert json.loads(shown) == document
