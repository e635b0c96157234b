"""The page: well formed, escaped, and complete in itself."""

import re
from html.parser import HTMLParser

import pytest

from catlipctl.reports import Section, Table, embed, page, step

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects the text of each element and every attribute; fails where a tag is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_a_page_holds_what_was_given_and_nothing_from_elsewhere() -> None:
    pytest.importorskip("matplotlib")
    figure = embed(step({"CatLIP": {"forward": 0.1}, "CLIP": {"forward": 0.2}}))
    sections = [
        Section("Step & more", "One `step`.\n\nAnother <script>paragraph</script>.", figure=figure),
        Section(
            "Numbers", table=Table(["name", "classes", "share"], [["a<b", "1,000", "12.5%"], ["c", 7, "–"]])
        ),
    ]
    text = page("What <b> learned", sections)
    found = read(text)
    assert ("h1", "What <b> learned") in found.texts
    assert ("h2", "Step & more") in found.texts
    assert ("code", "step") in found.texts
    assert ("p", "Another <script>paragraph</script>.") in found.texts
    assert [text for tag, text in found.texts if tag == "td"] == ["a<b", "1,000", "12.5%", "c", "7", "–"]
    assert [name for tag, name, value in found.attributes if tag == "th" and value == "number"] == [
        "class"
    ] * 2
    links = [value for _, name, value in found.attributes if name in ("src", "href")]
    assert links == [figure]
    assert not re.search(r"https?:|url\(|@import|<link|<script", text)
    assert "prefers-color-scheme: dark" in text


def test_a_figure_from_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="data URI"):
        page("t", [Section("s", figure="https://example.org/x.png")])


def test_nothing_of_the_data_is_markup_or_a_control_sequence() -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=y>\x1b[2J\x00\u202e`'
    table = Table([evil], [[evil]])
    found = read(text := page(evil, [Section(evil, f"{evil} `{evil}`", table, "data:image/png;base64,AA")]))
    assert {tag for tag, _, _ in found.attributes} == {"html", "meta", "div", "img"}
    assert [value for tag, name, value in found.attributes if tag == "img" and name == "src"] == [
        "data:image/png;base64,AA"
    ]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert r"\x1b[2J\x00\u202e" in text
