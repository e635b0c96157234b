"""A caption, cleaned as CoreNet does, and what is made of its tokens, remembered by chunk.

A chunk is a run of characters without whitespace. Why that gives the tokens of the whole caption is told in
`tokens`.
"""

import re
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Generic, TypeVar
from urllib.parse import unquote

import ftfy

from catlipctl.labels import tokens
from catlipctl.labels.memory import Memory

Made = TypeVar("Made")

# Printable ASCII without `%`, `+`, `<` and `&`: nothing to clean but spaces and case.
CLEAN = re.compile("[ !-$'-*,-;=-~]*")
# `<.*?>` says the same but looks for the end of the line again at every `<`: hours for a megabyte of them.
TAG = re.compile(r"<[^>\n]*(>?)")
SPACES = re.compile(" +")
# ftfy changes nothing in ASCII without entities and control characters, and would take a quarter of the time.
SOUND = re.compile(r"[\t\n -%'-~]*")
# ftfy undoes one `amp;` of `&amp;amp;...` a round, in rounds over the whole text: hours for a megabyte.
# The text ends up the same with a hundred, unless something else in it takes more rounds than that.
AMPERSAND = "(?:amp|#0{0,9}38|#x0{0,9}26);"
NESTED = re.compile(f"(&(?:{AMPERSAND}){{100}})(?:{AMPERSAND})+", re.IGNORECASE)


def clean(caption: str) -> str:
    """The caption without percent escapes, plus signs, tags and broken encoding, in lower case.

    In the order of the released code (CoreNet): entities are undone after tags are removed.
    """
    text = unquote(caption).replace("+", " ")
    text = TAG.sub(lambda tag: "" if tag[1] else tag[0], text)
    text = SPACES.sub(" ", text.strip("\n"))
    if not SOUND.fullmatch(text):
        text = ftfy.fix_text(NESTED.sub(r"\1", text))
    return text.strip().lower()


class Chunks(Generic[Made]):
    """Caption -> what `make` makes of its tokens, in lower case, in order.

    make: tokens -> what is made of each, in order, whatever the others are.
    entries: how many chunks are young at a time (`Memory`), of those within a sentence.
    """

    def __init__(self, make: Callable[[list[str]], list[Made]], entries: int) -> None:
        self._make = make
        self._within = Memory(partial(self._of_chunk, before="a ", after=" a"), entries)
        self._last = Memory(partial(self._of_chunk, before="a "), entries // 4)
        self._alone = Memory(self._of_chunk, entries // 4)

    def __call__(self, caption: str) -> list[Made]:
        if CLEAN.fullmatch(caption) and not tokens.SENTENCE_END.search(caption):
            return self._of_chunks(caption.lower().split())
        made: list[Made] = []
        for sentence in tokens.sentences(clean(caption)):
            if tokens.OTHER_WHITESPACE.search(sentence):
                made += self._make(tokens.words(sentence))
            else:
                made += self._of_chunks(sentence.split())
        return made

    @property
    def misses(self) -> int:
        """How many chunks were not remembered when a caption had them."""
        return self._within.misses + self._last.misses + self._alone.misses

    def _of_chunks(self, chunks: list[str]) -> list[Made]:
        """Of a sentence, given as its chunks between spaces."""
        if len(chunks) < 2:
            return [made for chunk in chunks for made in self._alone[chunk]]
        if not tokens.independent(chunks):
            return self._make(tokens.words(" ".join(chunks)))
        last = self._last[chunks.pop()]
        return [*chain.from_iterable(map(self._within.__getitem__, chunks)), *last]

    def _of_chunk(self, chunk: str, before: str = "", after: str = "") -> tuple[Made, ...]:
        return tuple(self._make(tokens.words_of_chunk(chunk, before, after)))
