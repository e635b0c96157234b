"""The page: well formed, escaped, and complete in itself; its charts can be read on a phone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from catlipctl.reports import Cell, Figure, Folded, Link, Links, Section, Table, page, step

Read = Callable[[str], Any]


def test_a_page_holds_what_was_given_and_nothing_from_elsewhere(tmp_path: Path, read: Read) -> None:
    pytest.importorskip("matplotlib")
    draw = Figure(lambda: step({"CatLIP": {"forward": 0.1}, "CLIP": {"forward": 0.2}}, "", "a <run>"))
    table = Table(["name", "classes", "share"], [["a<b", "1,000", "12.5%"], ["c", 7, "–"]], "Of <all>")
    sections = [
        Section("Step & more", ["One `step`.\n\nAnother <script>paragraph</script>.", draw]),
        Section("Numbers", [table, Folded("The <recipe>", "a: </pre><b>")]),
    ]
    text = page("What <b> learned", sections, tmp_path)
    found = read(text)
    assert ("h1", "What <b> learned") in found.texts
    assert ("h2", "Step & more") in found.texts
    assert ("code", "step") in found.texts
    assert ("p", "Another <script>paragraph</script>.") in found.texts
    assert ("figcaption", "One training step. a <run>") in found.texts
    assert ("figcaption", "Of <all>") in found.texts
    assert ("summary", "The <recipe>") in found.texts
    assert ("pre", "a: </pre><b>") in found.texts
    assert [text for tag, text in found.texts if tag == "td"] == ["a<b", "1,000", "12.5%", "c", "7", "–"]
    assert [name for tag, name, value in found.attributes if tag == "th" and value == "number"] == [
        "class"
    ] * 2
    links = [value for _, name, value in found.attributes if name in ("src", "srcset", "href")]
    assert links[:2] == ["#s1", "#s2"]
    assert {"s1", "s2"} <= {value for _, name, value in found.attributes if name == "id"}
    assert len(links) == 4
    assert all(str(link).startswith("data:image/svg+xml;base64,") for link in links[2:])
    assert not re.search(r"https?:|url\(|@import|<link|<script", text)
    assert "prefers-color-scheme: dark" in text


def test_nothing_of_the_data_is_markup_or_a_control_sequence(tmp_path: Path, read: Read) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=y>\x1b[2J\x00\u202e`'
    text = page(evil, [Section(evil, [f"{evil} `{evil}`", Table([evil], [[evil]])])], tmp_path)
    assert not {"script", "img"} & {tag for tag, _, _ in read(text).attributes}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert r"\x1b[2J\x00\u202e" in text


@pytest.mark.parametrize("name", ["javascript:x", 'a" onclick="x', "é ü#1?.json", "a&b"])
def test_links_are_relative_and_name_what_they_name(name: str, tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "runs" / "a"
    target = tmp_path / "else" / name
    target.parent.mkdir()
    target.touch()
    text = page(
        "t", [Section("s", [Links([Link("<it>", target)]), Table(["a"], [[Link("x", target)]])])], folder
    )
    found = read(text)
    links = [str(v) for tag, key, v in found.attributes if tag == "a" and key == "href"][1:]
    assert len(links) == 2
    for link in links:
        assert link.startswith("./")
        assert (folder / unquote(link)).resolve() == target.resolve()
    assert {"href"} == {key for tag, key, _ in found.attributes if tag == "a"}
    assert ("a", "<it>") in found.texts


def test_a_matrix_names_its_rows_and_shades_its_cells(tmp_path: Path, read: Read) -> None:
    table = Table(["", "cat"], [["cat", Cell("3", 0.75)], ["dog", Cell("", 0)]], matrix=True)
    found = read(page("t", [Section("s", [table])], tmp_path))
    assert ("th", "scope", "row") in found.attributes
    assert [value for tag, key, value in found.attributes if tag == "td" and key == "style"] == [
        "--share: 75.0%"
    ]
