"""Nouns of several words: `hot dog`, `tiger shark`, `shepherd's crook`, `body of water`.

WordNet's lemmas of two to four words, found where a caption has their words in a row, the last of them tagged
as a noun. The most frequent sense, as with single words. The rules below were made by looking at what 29,000
captions of photographs and 5,740 titles of drawings gave.
"""

import re
from collections.abc import Iterator

from catlipctl.labels import wordnet
from catlipctl.labels.memory import Memory

NOUN_TAGS = frozenset(["NN", "NNS", "NNP", "NNPS"])
MOST_WORDS = 4

CLOSED_TAGS = frozenset(
    ["CC", "DT", "EX", "IN", "MD", "PDT", "POS", "PRP", "PRP$", "RP", "TO", "WDT", "WP", "WP$", "WRB"]
)
"""Of function words, with which no compound starts: `the street` is not Wall Street, `at home` no party."""

TAKEN_FOR_FUNCTION_WORDS = frozenset(["north"])
"""By the tagger, for a preposition."""

INNER_FUNCTION_WORDS = frozenset(["of", "the", "and", "'s", "'"])
"""Those that stand inside of compounds: a `man in the street` stands in a street."""

VERB_TAGS = frozenset(["VB", "VBD", "VBG", "VBN", "VBP", "VBZ"])
VERB_FOLLOWS = frozenset(["NN", "NNS", "NNP", "NNPS", "PRP", "EX", "MD", "TO", "RB", "WDT", "WP", *VERB_TAGS])
"""After these a verb is a verb: `men riding horses` ride; in `near a swimming pool`, nobody swims."""

COLOURS = "black white red blue green yellow brown gray grey pink purple dark light"
SIZES_AND_AGES = "big large small little tall long short deep old young"
OTHER_LOOKS = "round closed empty hard good"
DESCRIPTIONS = frozenset(f"{COLOURS} {SIZES_AND_AGES} {OTHER_LOOKS}".split())
"""Captions mean these by the word: with them, only what is a kind of its last word is a compound. A `black
bear` is a bear; but a `black cat` is no fisher, a `yellow jacket` no drug, a `hard hat` no worker."""

NOT_COMPOUNDS = frozenset(
    ["blue_flag", "old_man", "safety_glass", "third_person", "white_paper", "white_room", "yellow_flag"]
)
"""What captions mean otherwise, word by word: blue flags are no irises, an old man is nobody's father."""


class Compounds:
    """Finds compounds in tagged captions."""

    def __init__(self) -> None:
        self.keys = _keys_of_phrases()
        """Phrase (tokens with underscores between, in the singular) -> key."""
        self.openings: dict[str, int] = {}
        """First token, or first two -> the most tokens that a compound which begins so has."""
        for phrase in self.keys:
            first, second, *more = phrase.split("_")
            for opening in (first, f"{first}_{second}"):
                self.openings[opening] = max(2 + len(more), self.openings.get(opening, 0))
        self._forms = Memory(_forms, entries=2**14)

    def may_start(self, token: str, tag: str) -> bool:
        """Whether a compound may: asked of every token, and most often denied."""
        if tag in CLOSED_TAGS and token not in TAKEN_FOR_FUNCTION_WORDS:
            return False
        return token in self.openings or "-" in token

    def at(self, start: int, tokens: list[str], tags: list[str]) -> tuple[int, str] | None:
        """The longest compound that starts there: where it ends, and its phrase."""
        opening = "_".join(tokens[start : start + 2])
        longest = MOST_WORDS if "-" in opening else self.openings.get(opening, 2)
        for end in range(min(start + longest, len(tokens)), start + 1, -1):
            if tags[end - 1] in NOUN_TAGS:
                phrase = self.phrase(tokens[start:end])
                if phrase is not None and _may_stand(start, end, tokens, tags):
                    return end, phrase
        return None

    def phrase(self, words: list[str]) -> str | None:
        """The compound that these words are, whose last may be plural; its words joined by underscores."""
        opening = "_".join(words[:-1]).replace("-", "_")
        for form in self._forms[words[-1]]:
            phrase = f"{opening}_{form}"
            if phrase in self.keys:
                return phrase
        return None


def _forms(word: str) -> list[str]:
    """As it stands first: trunks are no trunk, least of all swimming trunks."""
    return [word, *wordnet.nouns().bases(word)]


def _may_stand(start: int, end: int, tokens: list[str], tags: list[str]) -> bool:
    if tags[start] in VERB_TAGS and start and tags[start - 1] in VERB_FOLLOWS:
        return False
    inner = zip(tags[start + 1 : end - 1], tokens[start + 1 : end - 1], strict=True)
    return all(tag not in CLOSED_TAGS or token in INNER_FUNCTION_WORDS for tag, token in inner)


def _keys_of_phrases() -> dict[str, str]:
    """Compounds, as the tokeniser splits them, with underscores between -> their keys."""
    first_senses = wordnet.nouns().first_senses()
    keys = {}
    for lemma, key in first_senses.items():
        words = re.split("[_-]", lemma)
        if 1 < len(words) <= MOST_WORDS and all(words) and _means_itself(lemma, words, key):
            phrase = re.sub("('s|(?<=s)')(?=_)", r"_\1", "_".join(words))
            # A lemma that is written apart comes before one with hyphens.
            if "-" not in lemma or phrase not in first_senses:
                keys[phrase] = key
    return keys


def _means_itself(lemma: str, words: list[str], key: str) -> bool:
    """Whether these words, found in a row, are likely to mean this."""
    if lemma in NOT_COMPOUNDS:
        return False
    if "-" in lemma and not {"of", "and", "in", "on", "to", "the", "a"}.isdisjoint(words[:-1]):
        return False  # Such hyphens tell it from the words in a row: boys-and-girls are a herb.
    if len(words) == 2 and words[0] in DESCRIPTIONS:
        nouns = wordnet.nouns()
        kinds = {sense for form in _forms(words[1]) for sense in nouns.synsets(form)}
        return not kinds.isdisjoint(_above(key))
    return True


def _above(key: str) -> Iterator[str]:
    """The synset and all of which it is a kind or an instance."""
    nouns = wordnet.nouns()
    above = [key]
    for synset in above:
        yield synset
        above += nouns.hypernyms(synset) + nouns.instance_hypernyms(synset)
