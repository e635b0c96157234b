"""CLIP's byte-pair encoding: the sub-words of a word, by the merges that open_clip ships.

Its package is found but not imported: that would bring torch, five seconds and 600 MB to each worker.
"""

import gzip
import importlib.util
from functools import cache
from itertools import pairwise
from pathlib import Path

import regex

from catlipctl.errors import MachineError

START, END = "<start_of_text>", "<end_of_text>"
PAD = "!"
"""The sub-word of id 0: CLIP's tokeniser fills up with zeros."""

WORDS = regex.compile(
    rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE
)
"""What is encoded by itself; a word never crosses white space."""

MERGES = 49_152 - 256 - 2
"""The file has more; 49,408 ids are two for each byte, these, and the two special ones."""
NEVER = MERGES
LONG = 512
"""Symbols beyond which the end of a word is cut off, where that changes nothing."""


def sub_words(word: str, most: int) -> tuple[str, ...]:
    """The first `most` sub-words of one of `WORDS`: `skateboard` is `skate`, `board</w>`."""
    if word in (START, END):
        return (word,)
    symbols = [_alphabet()[byte] for byte in word.encode()]
    symbols[-1] += "</w>"
    length = LONG
    while length < len(symbols):
        # Up to any border between its sub-words, a word is encoded as if it ended there; and one of as many
        # places in a row as a sub-word is long must be a border. Where all agree, the rest is of no account.
        ends = range(length - _merges().longest, length)
        starts = {tuple(_merged(symbols[: end + 1])[:most]) for end in ends}
        if len(starts) == 1 and len(start := starts.pop()) == most:
            return start
        length *= 2
    return tuple(_merged(symbols)[:most])


def keys() -> list[str]:
    """All 49,408 sub-words, by their ids in CLIP's vocabulary."""
    alphabet = sorted(_alphabet(), key=lambda symbol: (ord(symbol) >= 0x100, symbol))
    return [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *_merges().made, START, END]


def text(sub_word: str) -> str:
    """What a sub-word says: `dog` for `dog</w>`. Where it is part of a character, its symbols."""
    symbols = sub_word.removesuffix("</w>")
    try:
        said = bytes(map(_bytes().__getitem__, symbols)).decode()
    except (KeyError, UnicodeDecodeError):
        return symbols
    return said if said.isprintable() else symbols


def _merged(symbols: list[str]) -> list[str]:
    """The symbols after all merges, the earliest in the file first, each wherever it can be from the left."""
    ranks, made = _merges().ranks, _merges().made
    symbols = list(symbols)
    pairs = [ranks.get(pair, NEVER) for pair in pairwise(symbols)]
    while pairs and (rank := min(pairs)) != NEVER:
        at = 0
        while rank in pairs[at:]:
            at = pairs.index(rank, at)
            symbols[at : at + 2] = [made[rank]]
            del pairs[at]
            if at < len(pairs):
                pairs[at] = ranks.get((symbols[at], symbols[at + 1]), NEVER)
            if at:
                pairs[at - 1] = ranks.get((symbols[at - 1], symbols[at]), NEVER)
    return symbols


class _Merges:
    """The pairs that become one: the rank of each, what each makes, and the most symbols of any."""

    def __init__(self, pairs: list[tuple[str, ...]]) -> None:
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self.made = ["".join(pair) for pair in pairs]
        self.longest = max(len(made.removesuffix("</w>")) for made in self.made)


@cache
def _merges() -> _Merges:
    found = importlib.util.find_spec("open_clip")
    folders = found.submodule_search_locations if found else None
    path = Path(folders[0] if folders else "open_clip", "bpe_simple_vocab_16e6.txt.gz")
    if not path.is_file():
        raise MachineError(
            "the sub-words of CLIP are missing: open_clip brings them", "pip install open_clip_torch"
        )
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        lines = stream.read().split("\n")[1 : 1 + MERGES]
    return _Merges([tuple(line.split()) for line in lines])


@cache
def _bytes() -> dict[str, int]:
    return {symbol: byte for byte, symbol in enumerate(_alphabet())}


@cache
def _alphabet() -> list[str]:
    """A printable character for each byte: its own of Latin 1, those without one from U+0100 on."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]
