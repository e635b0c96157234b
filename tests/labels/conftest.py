"""The released label function, composed from NLTK's own."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

import pytest


@pytest.fixture(scope="session")
def released(nltk_data: Path) -> Iterator[Callable[[str], list[str]]]:
    """Caption -> keys, by NLTK alone: its sentences, its tokens of each, its lemmas and its corpus.

    What NLTK says of a sentence, and of a word, is remembered; its patterns may take more than five seconds.
    """
    import ftfy
    import nltk
    from nltk.corpus import wordnet as corpus
    from nltk.corpus.reader.wordnet import WordNetError

    assert nltk_data
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(nltk.redos, "DEFAULT_TIMEOUT", None)
    words = lru_cache(2**16)(partial(nltk.word_tokenize, preserve_line=True))
    lemmatizer = nltk.WordNetLemmatizer()

    @lru_cache(2**18)
    def key(token: str) -> str | None:
        lemma = lemmatizer.lemmatize(token)
        try:
            synset = corpus.synset(f"{lemma}.n.01")
        except WordNetError:
            return None
        return f"n{synset.offset():08d}" if synset.name() == f"{lemma}.n.01" else None

    def label(caption: str) -> list[str]:
        text = re.sub("<.*?>", "", unquote(caption).replace("+", " ")).strip("\n")
        text = ftfy.fix_text(re.sub(" +", " ", text)).strip().lower()
        tokens = chain.from_iterable(map(words, nltk.sent_tokenize(text)))
        return [found for found in map(key, tokens) if found is not None]

    yield label
    monkeypatch.undo()
