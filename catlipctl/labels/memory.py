"""Answers remembered by text, in bounded memory: the one memo that all extractors use.

`Memory(answer)[text]` is `answer(text)`, asked once for as long as it is remembered. What is remembered costs
one look-up in a dictionary; `misses` counts the rest: who knows how often it asked knows the hit rate.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

LONGEST = 32
"""Longer texts are answered and forgotten: hardly any is met twice, and they would cost the most memory."""


class Memory(dict[str, Answer], Generic[Answer]):
    """A dictionary that asks `answer` for what it lacks, and remembers at most 2 x `entries` texts.

    It has two generations. What is met goes into the young one, which is the dictionary itself. When that is
    full it becomes the old one and a new one begins; the former old one is forgotten. A text of the old one
    that is met again is young again. So frequent texts stay, however many rare ones pass.
    """

    def __init__(self, answer: Callable[[str], Answer], entries: int = 2**15) -> None:
        super().__init__()
        self.misses = 0
        self._answer = answer
        self._entries = entries
        self._old: dict[str, Answer] = {}

    def __missing__(self, text: str) -> Answer:
        if text in self._old:
            answer = self._old[text]
        else:
            self.misses += 1
            answer = self._answer(text)
            if len(text) > LONGEST:
                return answer
        if len(self) >= self._entries:
            self._old.clear()
            self._old.update(self)
            self.clear()
        self[text] = answer
        return answer
