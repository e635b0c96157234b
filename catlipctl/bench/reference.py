"""The released label function, put together from NLTK: what the extractors are timed against.

As CoreNet has it (`WordnetTaggedClassificationDataset`): clean, tokenise, tag, throw the tags away, lemmatise
as noun, and keep what is the first sense by its own name. Nothing is remembered.
"""

import re
from urllib.parse import unquote

import ftfy
import nltk
from nltk.corpus import wordnet
from nltk.corpus.reader.wordnet import WordNetError

from catlipctl.errors import MachineError

DOWNLOAD = "python -m nltk.downloader wordnet punkt_tab averaged_perceptron_tagger_eng"


class Reference:
    """Caption -> keys, zero-padded as ours are.

    Raises:
        MachineError: NLTK lacks some of its data.
    """

    name = "reference"
    version = f"NLTK {nltk.__version__}"
    misses = None

    def __init__(self) -> None:
        try:
            self("a dog")
        except LookupError as error:
            raise MachineError("the reference path needs data of NLTK that are missing", DOWNLOAD) from error

    def __call__(self, caption: str) -> list[str]:
        """Keys in order of appearance, repeats kept."""
        text = re.sub("<.*?>", "", unquote(caption).replace("+", " ")).strip("\n")
        text = ftfy.fix_text(re.sub(" +", " ", text)).strip().lower()
        tokens = nltk.word_tokenize(text)
        nltk.pos_tag(tokens)
        lemmatizer = nltk.WordNetLemmatizer()
        keys = (_key(lemmatizer.lemmatize(token)) for token in tokens)
        return [key for key in keys if key is not None]


def _key(lemma: str) -> str | None:
    name = f"{lemma}.n.01"
    try:
        synset = wordnet.synset(name)
    except (WordNetError, ValueError):
        return None
    return f"n{synset.offset():08d}" if synset.name() == name else None
