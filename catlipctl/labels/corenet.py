"""The label function of the released CatLIP code (CoreNet), to the letter, but for zero-padded keys.

Clean, tokenise, lemmatise as noun, look up `<lemma>.n.01`, and keep the synset if that is its own name.
There is no part-of-speech filter: the released code computes tags and throws them away. Synonyms are dropped,
not merged: `automobile.n.01` is `car.n.01`.
"""

import re
from functools import partial
from itertools import chain
from urllib.parse import unquote

import ftfy

from catlipctl.labels import tokens, wordnet
from catlipctl.labels.explain import Word
from catlipctl.labels.memory import Memory

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


class CorenetExtractor:
    """Caption -> keys of the nouns in it; pure, and picklable (a copy starts with an empty memory).

    It remembers the keys of chunks, runs of characters without whitespace, by where they stand in a sentence;
    why that changes no label is told in `tokens`. At most about 100 MB are kept.
    """

    name = "corenet"
    version = "1"

    def __init__(self) -> None:
        self._keys = Memory(_key)
        self._within = Memory(partial(self._of_chunk, before="a ", after=" a"), entries=2**17)
        self._last = Memory(partial(self._of_chunk, before="a "))
        self._alone = Memory(self._of_chunk)

    def __reduce__(self) -> tuple[type["CorenetExtractor"], tuple[()]]:
        return CorenetExtractor, ()

    def __call__(self, caption: str) -> list[str]:
        """Keys in order of appearance, repeats kept."""
        if CLEAN.fullmatch(caption) and not tokens.SENTENCE_END.search(caption):
            return self._of_chunks(caption.lower().split())
        keys: list[str] = []
        for sentence in tokens.sentences(clean(caption)):
            if tokens.OTHER_WHITESPACE.search(sentence):
                keys += self._of_tokens(tokens.words(sentence))
            else:
                keys += self._of_chunks(sentence.split())
        return keys

    def _of_chunks(self, chunks: list[str]) -> list[str]:
        """Keys of a sentence, given as its chunks between spaces."""
        if len(chunks) < 2:
            return [key for chunk in chunks for key in self._alone[chunk]]
        if not tokens.independent(chunks):
            return self._of_tokens(tokens.words(" ".join(chunks)))
        last = self._last[chunks.pop()]
        return [*chain.from_iterable(map(self._within.__getitem__, chunks)), *last]

    def _of_chunk(self, chunk: str, before: str = "", after: str = "") -> tuple[str, ...]:
        return tuple(self._of_tokens(tokens.words_of_chunk(chunk, before, after)))

    def _of_tokens(self, words: list[str]) -> list[str]:
        return [key for key in map(self._keys.__getitem__, words) if key is not None]

    @property
    def misses(self) -> int:
        """How many chunks were not remembered when a caption had them."""
        return self._within.misses + self._last.misses + self._alone.misses

    def tokens(self, caption: str) -> list[str]:
        """The caption's lower-case words and punctuation."""
        return tokens.word_tokenize(clean(caption))

    def key(self, token: str) -> str | None:
        """The key that a token yields, if any."""
        return self._keys[token]

    def explain(self, caption: str) -> list[Word]:
        """Each token with what became of it."""
        return [self._word(token) for token in self.tokens(caption)]

    def reach(self) -> frozenset[str]:
        """The synsets that a single word names: captions write compounds apart, so no such key is met."""
        keys = map(self.key, wordnet.nouns().words())
        return frozenset(key for key in keys if key is not None)

    def _word(self, token: str) -> Word:
        nouns = wordnet.nouns()
        lemma = nouns.lemmatize(token)
        key = nouns.key_of(f"{lemma}.n.01")
        if key is None:
            return Word(token=token, lemma=lemma, why="not a noun in WordNet")
        name = nouns.name(key)
        kept = self.key(token) is not None
        why = "kept" if kept else f"synonym: {lemma}.n.01 is {name}"
        return Word(token=token, lemma=lemma, synset=name, key=key, kept=kept, why=why)


def _key(token: str) -> str | None:
    nouns = wordnet.nouns()
    return nouns.head_key(nouns.lemmatize(token))


def clean(caption: str) -> str:
    """The caption without percent escapes, plus signs, tags and broken encoding, in lower case.

    In the order of the released code: entities are undone after tags are removed.
    """
    text = unquote(caption).replace("+", " ")
    text = TAG.sub(lambda tag: "" if tag[1] else tag[0], text)
    text = SPACES.sub(" ", text.strip("\n"))
    if not SOUND.fullmatch(text):
        text = ftfy.fix_text(NESTED.sub(r"\1", text))
    return text.strip().lower()
