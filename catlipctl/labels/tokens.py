"""A text's tokens, exactly as NLTK's `word_tokenize` makes them: with no data to download, chunk by chunk.

NLTK splits a text into sentences (Punkt) and substitutes its way through each with some thirty patterns (word
tokenizer). Most of it can be done once for each chunk, a run of characters without whitespace, because

1.  A text in which no `.`, `?` or `!` stands before whitespace, or before one of the marks that Punkt takes
    for the end of a word, is one sentence: Punkt considers no other place (`period_context_re`).

2.  No pattern of the word tokenizer joins a chunk to its neighbour. Where whitespace is single spaces, all
    that a pattern sees beyond its chunk is a space, or the sentence's start or end. For each pattern:

    - Those without a space, `^`, `$` or an assertion look at characters of the chunk, and leave spaces alone.
      Word boundaries and `(?<!\\w)` cannot tell a space from the sentence's start or end. `([:,])([^\\d])`
      may take the space behind the mark, but puts it back, and no match of it begins with a space.
    - `^"` and `[ ([{<]("|'')`: an opening quote begins the sentence, or follows a space.
      So a sentence that begins with a quote is tokenized whole, unless it is a single chunk.
    - `[:,]$` and `([^'])' `, with a space: `dog's'` gives other tokens before a space than at the end. So the
      sentence's last chunk is remembered apart. Where two matches of the second would share a space,
      the later one's quote stands apart already, and it would change nothing.
    - `([^.])(.)([])}>"' »”’]*)\\s*$`, and its like without the space: the final period is split off. Closers
      may follow it, with spaces between. So where the last has closers only (`a dog. )`), the period may
      be in a chunk before it: the sentence is tokenized whole. In all others it is in the last chunk, and the
      character before it is the chunk's own or a space; where the chunk is alone, there may be none, so that
      is remembered apart, too.
    - All later patterns see the sentence between two spaces, which the tokenizer adds, so nothing differs at
      its ends. Those that take the space behind (`'s `, `n't `) begin with another character, so no match
      lacks its space. ` 't(is)` takes the space before it, and puts it back. `wanna` must stand before
      whitespace, and always does.

3.  Other whitespace, or more of it, is treated differently by the patterns, by `regex`, `re` and `str.split`.
    Sentences with any of it are tokenized whole.

A chunk's tokens are then those that NLTK's tokenizer gives for it beside a harmless word, on the sides where
it has a neighbour. Only chunks in which no pattern finds anything but a mark at the end are spared that
(`words_of_chunk`).
"""

import re
from functools import cache
from typing import Any, ClassVar

import regex
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktLanguageVars, PunktSentenceTokenizer, PunktToken

from catlipctl.labels import punkt
from catlipctl.labels.memory import Memory

SENTENCE_END = re.compile(r"[.?!](?=[])\"';:@}*({\[?!‘’“”«»\s])")
"""Where Punkt looks whether a sentence ends; a text without, not even at its end, is one sentence."""

OTHER_WHITESPACE = re.compile(r"[^\S ]|  ")
"""What may not stand between chunks: anything but a single space."""

QUOTES = frozenset("\"'")
CLOSERS = frozenset("])}>\"'»”’")

# No pattern matches within letters, digits and single hyphens, but for the contractions.
WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
CONTRACTION = re.compile("cannot|gimme|gonna|gotta|lemme|wanna")


def word_tokenize(text: str) -> list[str]:
    """Sentences by Punkt, then each sentence's words and punctuation: `a dog.` gives `a`, `dog`, `.`."""
    return [token for sentence in sentences(text) for token in words(sentence)]


def sentences(text: str) -> list[str]:
    """The text's sentences, for which Punkt is asked only where it has anything to decide."""
    if SENTENCE_END.search(text):
        return _sentence_tokenizer().tokenize(text)
    return [text.rstrip()]


def words(sentence: str) -> list[str]:
    """The words and punctuation of one sentence."""
    return _word_tokenizer().tokenize(sentence)


def independent(chunks: list[str]) -> bool:
    """Whether the tokens of a sentence of two chunks or more, with spaces between, are those of its chunks.

    See 2. above; `words_of_chunk` gives them.
    """
    return chunks[0][0] not in QUOTES and not CLOSERS.issuperset(chunks[-1])


def words_of_chunk(chunk: str, before: str = "", after: str = "") -> list[str]:
    """The tokens of a chunk between `before` and `after`: another word and a space, or nothing at all."""
    mark = "," if after else ".,"
    word = chunk[:-1] if chunk[-1] in mark else chunk
    if WORD.fullmatch(word) and not CONTRACTION.search(word):
        return [chunk] if word == chunk else [word, chunk[-1]]
    found = words(before + chunk + after)
    return found[1 if before else 0 : -1 if after else None]


@cache
def _word_tokenizer() -> "_WordTokenizer":
    return _WordTokenizer()


@cache
def _sentence_tokenizer() -> "_SentenceTokenizer":
    return _SentenceTokenizer()


class _SentenceTokenizer(PunktSentenceTokenizer):
    """Punkt, with each decision remembered: it depends on nothing but the two words about the full stop."""

    def __init__(self) -> None:
        super().__init__(punkt.parameters(), lang_vars=_LanguageVars(), token_cls=_Token)
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
    re_boundary_realignment = _untimed(PunktLanguageVars.re_boundary_realignment)

    @cache  # noqa: B019 - one instance a process
    def period_context_re(self) -> Any:
        return _untimed(super().period_context_re())

    @cache  # noqa: B019 - one instance a process
    def _word_tokenizer_re(self) -> Any:
        return _untimed(super()._word_tokenizer_re())


class _Token(PunktToken):
    __slots__ = ()
    _RE_ELLIPSIS = _untimed(PunktToken._RE_ELLIPSIS)
    _RE_NUMERIC = _untimed(PunktToken._RE_NUMERIC)
    _RE_INITIAL = _untimed(PunktToken._RE_INITIAL)
    _RE_ALPHA = _untimed(PunktToken._RE_ALPHA)


class _WordTokenizer(NLTKWordTokenizer):
    STARTING_QUOTES: ClassVar = [(_untimed(p), s) for p, s in NLTKWordTokenizer.STARTING_QUOTES]
    PUNCTUATION: ClassVar = [(_untimed(p), s) for p, s in NLTKWordTokenizer.PUNCTUATION]
    PARENS_BRACKETS = (_untimed(NLTKWordTokenizer.PARENS_BRACKETS[0]), NLTKWordTokenizer.PARENS_BRACKETS[1])
    DOUBLE_DASHES = (_untimed(NLTKWordTokenizer.DOUBLE_DASHES[0]), NLTKWordTokenizer.DOUBLE_DASHES[1])
    ENDING_QUOTES: ClassVar = [(_untimed(p), s) for p, s in NLTKWordTokenizer.ENDING_QUOTES]
