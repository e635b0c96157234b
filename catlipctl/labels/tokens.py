"""A text's tokens, exactly as NLTK's `word_tokenize` makes them, but with no data to download."""

from functools import cache
from typing import Any, ClassVar

import regex
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktLanguageVars, PunktSentenceTokenizer

from catlipctl.labels import punkt
from catlipctl.labels.memory import Memory


def word_tokenize(text: str) -> list[str]:
    """Sentences by Punkt, then each sentence's words and punctuation: `a dog.` gives `a`, `dog`, `.`."""
    sentences, words = _tokenizers()
    return [token for sentence in sentences.tokenize(text) for token in words[sentence]]


@cache
def _tokenizers() -> tuple["_SentenceTokenizer", Memory[list[str]]]:
    # A megabyte of full stops is half a million equal sentences.
    return _SentenceTokenizer(), Memory(_WordTokenizer().tokenize)


class _SentenceTokenizer(PunktSentenceTokenizer):
    """Punkt, with each decision remembered: it depends on nothing but the two words about the full stop."""

    def __init__(self) -> None:
        super().__init__(punkt.parameters(), lang_vars=_LanguageVars())
        self._decisions = Memory(super().text_contains_sentbreak)

    def text_contains_sentbreak(self, text: str) -> bool:
        return self._decisions[text]


def _untimed(pattern: Any) -> Any:
    """The pattern without the limit of five seconds of wall clock that NLTK 3.10 sets.

    The patterns are linear in the text, and whether a long caption has labels must not depend on how busy the
    machine is. Matching is faster by a third, too.
    """
    return regex.compile(pattern.pattern, pattern.flags)


class _LanguageVars(PunktLanguageVars):
    @cache  # noqa: B019 - one instance a process
    def period_context_re(self) -> Any:
        return _untimed(super().period_context_re())


class _WordTokenizer(NLTKWordTokenizer):
    STARTING_QUOTES: ClassVar = [(_untimed(p), s) for p, s in NLTKWordTokenizer.STARTING_QUOTES]
    PUNCTUATION: ClassVar = [(_untimed(p), s) for p, s in NLTKWordTokenizer.PUNCTUATION]
    PARENS_BRACKETS = (_untimed(NLTKWordTokenizer.PARENS_BRACKETS[0]), NLTKWordTokenizer.PARENS_BRACKETS[1])
    DOUBLE_DASHES = (_untimed(NLTKWordTokenizer.DOUBLE_DASHES[0]), NLTKWordTokenizer.DOUBLE_DASHES[1])
    ENDING_QUOTES: ClassVar = [(_untimed(p), s) for p, s in NLTKWordTokenizer.ENDING_QUOTES]
