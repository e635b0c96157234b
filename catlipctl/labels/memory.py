"""Answers remembered by text, in bounded memory."""

from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Memory(dict[str, Answer], Generic[Answer]):
    """A dictionary that asks `answer` for what it lacks; emptied when full, and long texts are not kept."""

    entries = 2**16
    longest = 64

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        super().__init__()
        self._answer = answer

    def __missing__(self, text: str) -> Answer:
        answer = self._answer(text)
        if len(text) <= self.longest:
            if len(self) >= self.entries:
                self.clear()
            self[text] = answer
        return answer
