"""The bag of sub-words that SuperClass learns from: CLIP's tokeniser, as open_clip has it, to the letter.

Clean, split into words, encode each by byte pairs, cut off where the text tower's context ends, and keep all:
start, end and padding are classes too, as in SuperClass's `ClsLoss`. Stop words may be left out, as in its
Table 7, where that makes it worse.
"""

import html
import re
from collections.abc import Iterator
from itertools import chain, islice

import ftfy

from catlipctl.labels import Word, bpe
from catlipctl.labels.bpe import END, PAD, START
from catlipctl.labels.memory import LONGEST, Memory
from catlipctl.labels.stop_words import STOP_WORDS

CONTEXT = 77
ROOM = CONTEXT - 2
"""Sub-words of a caption that are read, beside start and end."""
PLENTY = 4096
"""Characters of a long caption in which there mostly are as many."""
# ftfy changes nothing but line ends in ASCII without entities and control characters.
SOUND = re.compile(r"[\t\n\r -%'-~]*")


class SubwordExtractor:
    """Caption -> its sub-words as CLIP's vocabulary writes them, `dog</w>`; pure, and picklable.

    As a set, the keys are SuperClass's classes. Padding is one key, however many places it fills: their
    number would only say how short captions are, and drown all else where occurrences are counted.
    What it remembers takes at most about 100 MB.
    """

    name = "subword"
    version = "1 (CLIP BPE, 49,408 ids, context 77)"

    def __init__(self) -> None:
        self._of_word = Memory(_of_word)
        self._of_chunk = Memory(self._read, entries=2**17)

    def __reduce__(self) -> tuple[type["SubwordExtractor"], tuple[()]]:
        return type(self), ()

    def __call__(self, caption: str) -> list[str]:
        """Start, at most 75 sub-words in order, repeats kept, end; and padding where there is room for it."""
        every = chain.from_iterable(map(self._of_chunk.__getitem__, self._chunks(caption)))
        read = list(islice(every, ROOM))
        return [START, *read, END, PAD] if len(read) < ROOM else [START, *read, END]

    @property
    def misses(self) -> int:
        """How many chunks between white space were not remembered when a caption had them."""
        return self._of_chunk.misses

    def explain(self, caption: str) -> list[Word]:
        """Each sub-word beside the word that it is of."""
        words = (match[0] for chunk in self._chunks(caption) for match in bpe.WORDS.finditer(chunk))
        found, kept = [_kept(START, START, "starts every caption")], 0
        for word in chain.from_iterable(map(self._explained, words)):
            if word.kept and kept == ROOM:
                found.append(Word(token="...", lemma="", why=f"only the first {ROOM} sub-words are read"))
                break
            found.append(word)
            kept += word.kept
        found.append(_kept(END, END, "ends every caption"))
        return [*found, _kept(PAD, PAD, "fills up a short caption")] if kept < ROOM else found

    def reach(self) -> None:
        """Sub-words are no synsets."""

    def _read(self, chunk: str) -> tuple[str, ...]:
        """The sub-words of a chunk, as many as are read at most."""
        found: list[str] = []
        for word in self._words(chunk):
            found += self._of_word[word]
            if len(found) >= ROOM:
                break
        return tuple(found[:ROOM])

    def _words(self, chunk: str) -> Iterator[str]:
        """Those of a chunk that are read."""
        return (match[0] for match in bpe.WORDS.finditer(chunk))

    def _chunks(self, caption: str) -> list[str]:
        return chunks(caption)

    def _explained(self, word: str) -> list[Word]:
        return _explained(word)


class ContentExtractor(SubwordExtractor):
    """Caption -> the sub-words of its words that are no stop words. START, END and padding are as ever.

    A long caption is cut off where so many sub-words are left.
    """

    name = "subword-without-stop-words"
    version = f"1 (CLIP BPE, 49,408 ids, context {CONTEXT}, {len(STOP_WORDS)} stop words)"

    def _words(self, chunk: str) -> Iterator[str]:
        return (word for word in super()._words(chunk) if not _is_stop_word(word))

    def _chunks(self, caption: str) -> list[str]:
        return _chunks(caption, most=None)

    def _explained(self, word: str) -> list[Word]:
        return [Word(token=word, lemma=word, why="a stop word")] if _is_stop_word(word) else _explained(word)


def chunks(caption: str) -> list[str]:
    """The clean caption cut at its white space, each chunk of a sub-word or more; one more than is read."""
    # ftfy and HTML look at a line by itself, so that whole lines come to the same without those after them.
    if len(caption) > PLENTY and (end := caption.rfind("\n", 0, PLENTY)) > 0:
        first = _chunks(caption[:end])
        if len(first) > ROOM:
            return first
    return _chunks(caption)


def _chunks(caption: str, most: int | None = ROOM + 1) -> list[str]:
    if not SOUND.fullmatch(caption):
        caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return caption.lower().split(maxsplit=-1 if most is None else most)[:most]


def _is_stop_word(word: str) -> bool:
    """Also what an apostrophe cuts off: 't, 's, 'll."""
    return word.removeprefix("'") in STOP_WORDS


def _of_word(word: str) -> tuple[str, ...]:
    return bpe.sub_words(word, ROOM)


def _explained(word: str) -> list[Word]:
    """The sub-words of a word, and one more than are read if there is."""
    pieces = bpe.sub_words(word, ROOM + 1)
    if len(pieces) == 1:
        return [_kept(word, pieces[0], "a word")]
    # Each part names the word, which may be a megabyte.
    name = word if len(word) <= LONGEST else f"{word[:LONGEST]}..."
    return [_kept(name, piece, f"part {number} of a word") for number, piece in enumerate(pieces, start=1)]


def _kept(token: str, key: str, why: str) -> Word:
    return Word(token=token, lemma=token, key=key, kept=True, why=why)
