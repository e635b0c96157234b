"""The bag of sub-words that SuperClass learns from: CLIP's tokeniser, as open_clip has it, to the letter.

Clean, split into words, encode each by byte pairs, cut off where the text tower's context ends, and keep all:
start, end and padding are classes too, as in SuperClass's `ClsLoss`.
"""

import html
import re
from itertools import chain

import ftfy

from catlipctl.labels import Word, bpe
from catlipctl.labels.bpe import END, PAD, START
from catlipctl.labels.memory import LONGEST, Memory

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
        return SubwordExtractor, ()

    def __call__(self, caption: str) -> list[str]:
        """Start, at most 75 sub-words in order, repeats kept, end; and padding where there is room for it."""
        read = list(chain.from_iterable(map(self._of_chunk.__getitem__, chunks(caption))))
        return [START, *read, END, PAD] if len(read) < ROOM else [START, *read[:ROOM], END]

    @property
    def misses(self) -> int:
        """How many chunks between white space were not remembered when a caption had them."""
        return self._of_chunk.misses

    def explain(self, caption: str) -> list[Word]:
        """Each sub-word beside the word that it is of."""
        words = (match[0] for chunk in chunks(caption) for match in bpe.WORDS.finditer(chunk))
        found: list[Word] = []
        while len(found) <= ROOM and (word := next(words, None)) is not None:
            found += _explained(word)
        cut = Word(token="...", lemma="", why=f"only the first {ROOM} sub-words are read")
        return [
            _kept(START, START, "starts every caption"),
            *found[:ROOM],
            *([cut] if len(found) > ROOM else []),
            _kept(END, END, "ends every caption"),
            *([_kept(PAD, PAD, "fills up a short caption")] if len(found) < ROOM else []),
        ]

    def reach(self) -> None:
        """Sub-words are no synsets."""

    def _read(self, chunk: str) -> tuple[str, ...]:
        """The sub-words of a chunk, as many as are read at most."""
        found: list[str] = []
        for match in bpe.WORDS.finditer(chunk):
            found += self._of_word[match[0]]
            if len(found) >= ROOM:
                break
        return tuple(found[:ROOM])


def chunks(caption: str) -> list[str]:
    """The clean caption cut at its white space, each chunk of a sub-word or more; one more than is read."""
    # ftfy and HTML look at a line by itself, so that whole lines come to the same without those after them.
    if len(caption) > PLENTY and (end := caption.rfind("\n", 0, PLENTY)) > 0:
        first = _chunks(caption[:end])
        if len(first) > ROOM:
            return first
    return _chunks(caption)


def _chunks(caption: str) -> list[str]:
    if not SOUND.fullmatch(caption):
        caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return caption.lower().split(maxsplit=ROOM + 1)[: ROOM + 1]


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
