"""Sentences end where NLTK's Punkt ends them, without its data."""

from pathlib import Path

import pytest

from catlipctl.labels.punkt import DATA, main, parameters
from catlipctl.labels.tokens import word_tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a dog. a cat", ["a", "dog", ".", "a", "cat"]),
        ("A dog. A cat.", ["A", "dog", ".", "A", "cat", "."]),
        ("gen. lee rode.", ["gen.", "lee", "rode", "."]),
        ("", []),
    ],
)
def test_known_sentences(text: str, tokens: list[str]) -> None:
    assert word_tokenize(text) == tokens


@pytest.mark.usefixtures("nltk_data")
def test_the_compiler_gives_the_package_data(tmp_path: Path) -> None:
    main(tmp_path / "punkt.json")
    assert (tmp_path / "punkt.json").read_text() == DATA.read_text()


def test_words_that_were_asked_for_are_not_kept() -> None:
    """As they would be in NLTK's own parameters: a billion captions have tens of millions of words."""
    context = parameters().ortho_context
    known = len(context)
    assert context["the"]
    assert context["never met before"] == 0
    assert len(context) == known
