"""The label function of the released CatLIP code (CoreNet), to the letter, but for zero-padded keys.

Clean, tokenise, lemmatise as noun, look up `<lemma>.n.01`, and keep the synset if that is its own name.
There is no part-of-speech filter: the released code computes tags and throws them away. Synonyms are dropped,
not merged: `automobile.n.01` is `car.n.01`.
"""

from catlipctl.labels import Word, tokens, wordnet
from catlipctl.labels.chunks import Chunks, clean
from catlipctl.labels.memory import Memory


class CorenetExtractor:
    """Caption -> keys of the nouns in it; pure, and picklable (a copy starts with an empty memory).

    It remembers the keys of chunks, runs of characters without whitespace, by where they stand in a sentence;
    why that changes no label is told in `tokens`. At most about 100 MB are kept.
    """

    name = "corenet"
    version = "1"

    def __init__(self) -> None:
        self._keys = Memory(_key)
        self._chunks = Chunks(self._of_tokens, entries=2**17)

    def __reduce__(self) -> tuple[type["CorenetExtractor"], tuple[()]]:
        return CorenetExtractor, ()

    def __call__(self, caption: str) -> list[str]:
        """Keys in order of appearance, repeats kept."""
        return self._chunks(caption)

    @property
    def misses(self) -> int:
        """How many chunks were not remembered when a caption had them."""
        return self._chunks.misses

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

    def _of_tokens(self, words: list[str]) -> list[str]:
        return [key for key in map(self._keys.__getitem__, words) if key is not None]

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
