"""The label function of the CatLIP paper (section 3.1, Equation 1) taken at its word: nouns as synsets.

Clean, tokenise, tag, keep what is tagged as a noun, look up the most frequent sense. The released code, our
extractor `corenet`, keeps words of all kinds, and drops synonyms and compounds.

Captions are lower-cased before they are tagged, as there. The tagger knows prose: in `A Black Dog`, in Title
Case as alt texts are, it sees names.
"""

from collections.abc import Iterator
from functools import cache, cached_property, partial
from typing import NamedTuple

from catlipctl.labels import Word, plurals, wordnet
from catlipctl.labels.chunks import Chunks
from catlipctl.labels.compounds import NOUN_TAGS, Compounds
from catlipctl.labels.memory import Memory
from catlipctl.labels.tagger import Form, Tagger

PLURAL_TAGS = frozenset(["NNS", "NNPS"])

SHORT_NOUNS = frozenset(["dj", "pc", "rv", "tv", "uk"])
"""Nouns of two letters that are not their synset's own name."""

NO_NOUNS = frozenset(["while"])
"""What the tagger often takes for a noun, and captions hardly ever mean as one."""


class Noun(NamedTuple):
    """What is tagged as a noun, as WordNet has it."""

    lemma: str
    key: str | None
    fault: str = ""
    """Why it is no label; empty where it is one."""


class NounsExtractor:
    """Caption -> keys of the nouns in it, synonyms merged; pure, and picklable (a copy starts empty).

    Of what is tagged as a noun (NN, NNS, NNP, NNPS):
    - a compound of up to four words counts in place of its words (`compounds.py`);
    - a plural has its base's meaning (`plurals.py`);
    - one or two letters count only where they are the synset's own name (ox), or one of `SHORT_NOUNS`: all
      others are symbols, units and slips of the tagger (a: angstrom, in: inch, he: helium, i: iodine);
    - numbers do not count (one, ten, dozen).
    All other nouns do, those too that only place or count what is seen (front, lot): the paper drops none.

    Raises:
        MachineError: NLTK has no data for its tagger here; at the first caption, or when asked for `version`.
    """

    name = "nouns"

    def __init__(self) -> None:
        self._singular = Memory(partial(self._noun, tagged_plural=False), entries=2**14)
        self._plural = Memory(partial(self._noun, tagged_plural=True), entries=2**14)

    def __reduce__(self) -> tuple[type["NounsExtractor"], tuple[()]]:
        return NounsExtractor, ()

    @cached_property
    def version(self) -> str:
        """Ours, and that of the tagger's weights."""
        return f"1-{self._tagger.version}"

    def __call__(self, caption: str) -> list[str]:
        """Keys in order of appearance, repeats kept."""
        tokens, tags = self.tagged(caption)
        nouns = self._nouns(tokens, tags)
        return [noun.key for _, noun in nouns if noun.key is not None and not noun.fault]

    def explain(self, caption: str) -> list[Word]:
        """Each token with its tag and what became of it; a compound is one word."""
        tokens, tags = self.tagged(caption)
        nouns = {span.start: (span.stop, noun) for span, noun in self._nouns(tokens, tags)}
        words = []
        start = 0
        while start < len(tokens):
            stop, noun = nouns.get(start, (start + 1, None))
            words.append(_word(" ".join(tokens[start:stop]), " ".join(tags[start:stop]), noun))
            start = stop
        return words

    def reach(self) -> frozenset[str]:
        """The synsets of which a word, or a compound of up to four, has the most frequent sense."""
        first_senses = wordnet.nouns().first_senses()
        words = {key for word, key in first_senses.items() if "_" not in word and not _fault(word, key)}
        compounds = {key for phrase, key in self._compounds.keys.items() if not _fault(phrase, key)}
        return frozenset(words | compounds)

    def tagged(self, caption: str) -> tuple[list[str], list[str]]:
        """The caption's lower-case words and punctuation, and the tag of each."""
        forms = self._forms(caption)
        return [form.token for form in forms], self._tagger.tags(forms)

    @property
    def misses(self) -> int:
        """How many chunks were not remembered when a caption had them."""
        return self._forms.misses

    @cached_property
    def _tagger(self) -> Tagger:
        return Tagger()

    @cached_property
    def _forms(self) -> Chunks[Form]:
        form = Memory(self._tagger.form, entries=2**12)
        return Chunks(lambda tokens: [form[token] for token in tokens], entries=2**15)

    @cached_property
    def _compounds(self) -> Compounds:
        return Compounds()

    def _nouns(self, tokens: list[str], tags: list[str]) -> Iterator[tuple[slice, Noun]]:
        """Compounds, and single words that are tagged as nouns, with their places."""
        compounds = self._compounds
        stop = 0
        for start, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
            if start < stop:
                continue
            if compounds.may_start(token, tag) and (found := compounds.at(start, tokens, tags)):
                stop, phrase = found
                yield slice(start, stop), self._compound(phrase)
            elif tag in NOUN_TAGS:
                memory = self._plural if tag in PLURAL_TAGS else self._singular
                yield slice(start, start + 1), memory[token]

    def _noun(self, token: str, *, tagged_plural: bool) -> Noun:
        """One token that is tagged as a noun: a word, or a compound with hyphens or underscores."""
        lemma = None if "_" in token else plurals.lemma(token, tagged_plural=tagged_plural)
        if lemma is None:
            phrase = self._compounds.phrase(token.replace("-", "_").split("_"))
            return Noun(token, None, "not in WordNet") if phrase is None else self._compound(phrase)
        key = wordnet.nouns().first_sense(lemma)
        return Noun(lemma, key, _fault(lemma, key))

    def _compound(self, phrase: str) -> Noun:
        key = self._compounds.keys[phrase]
        return Noun(phrase, key, _fault(phrase, key))


def _fault(lemma: str, key: str | None) -> str:
    """Why a noun of WordNet is no label; empty where it is one."""
    if len(lemma) <= 2 and lemma not in SHORT_NOUNS and not wordnet.nouns().head_key(lemma):
        return "a symbol or an abbreviation"
    if lemma in NO_NOUNS:
        return "hardly ever a noun"
    return "a number" if key in _numbers() else ""


@cache
def _numbers() -> set[str]:
    nouns = wordnet.nouns()
    return nouns.descendants(str(nouns.key_of("integer.n.01")))


def _word(token: str, tag: str, noun: Noun | None) -> Word:
    if noun is None:
        return Word(token=token, lemma=token, why=f"{tag}: not tagged as a noun")
    name = wordnet.nouns().name(noun.key) if noun.key else None
    why = f"{tag}: {noun.fault or 'kept'}"
    return Word(token=token, lemma=noun.lemma, synset=name, key=noun.key, kept=not noun.fault, why=why)
