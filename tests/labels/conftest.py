"""The released label function, composed from NLTK's own."""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import pytest


@pytest.fixture(scope="session")
def released(nltk_data: Path) -> Callable[[str], list[str]]:
    """Caption -> keys, tokenised by NLTK as one text; a word's own key is looked up in NLTK's corpus once."""
    import ftfy
    import nltk
    from nltk.corpus import wordnet as corpus
    from nltk.corpus.reader.wordnet import WordNetError

    assert nltk_data
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
        return [found for token in nltk.word_tokenize(text) if (found := key(token)) is not None]

    return label
