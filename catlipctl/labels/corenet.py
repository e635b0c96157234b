"""The label function of the released CatLIP code (CoreNet), to the letter, but for zero-padded keys.

Clean, tokenise, lemmatise as noun, look up `<lemma>.n.01`, and keep the synset if that is its own name.
There is no part-of-speech filter: the released code computes tags and throws them away. Synonyms are dropped,
not merged: `automobile.n.01` is `car.n.01`.
"""

import re
from urllib.parse import unquote

import ftfy

from catlipctl.labels import wordnet
from catlipctl.labels.explain import Word
from catlipctl.labels.memory import Memory
from catlipctl.labels.tokens import word_tokenize

# `<.*?>` says the same but looks for the end of the line again at every `<`: hours for a megabyte of them.
TAG = re.compile(r"<[^>\n]*(>?)")
SPACES = re.compile(" +")
# ftfy changes nothing in ASCII without entities and control characters, and would take a quarter of the time.
SOUND = re.compile(r"[\t\n -%'-~]*")


class CorenetExtractor:
    """Caption -> keys of the nouns in it; pure, and picklable (a copy starts with an empty memory)."""

    name = "corenet"
    version = "1"

    def __init__(self) -> None:
        self._keys = Memory(_key)

    def __reduce__(self) -> tuple[type["CorenetExtractor"], tuple[()]]:
        return CorenetExtractor, ()

    def __call__(self, caption: str) -> list[str]:
        """Keys in order of appearance, repeats kept."""
        keys = map(self.key, self.tokens(caption))
        return [key for key in keys if key is not None]

    def tokens(self, caption: str) -> list[str]:
        """The caption's lower-case words and punctuation."""
        return word_tokenize(clean(caption))

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
        text = ftfy.fix_text(text)
    return text.strip().lower()
