"""What a plural is the plural of: not always what WordNet's own search, morphy, says.

Morphy takes a word as it stands where WordNet has it at all, and WordNet has many plurals as nouns of their
own, in a sense that captions do not mean: men (work force), hands (custody), arms (weaponry), eyes (opinion),
windows (the software), teeth (dentition). The rule here: a plural has its base's meaning. A plural is what is
tagged so, and what has a base without ending in `s`: men, teeth, oxen, fungi. All others stand as they are:
glass, bus. The few plurals that mean a thing of their own in captions too are listed.
"""

from catlipctl.labels import wordnet

WORN = (
    "bloomers boxers breeches briefs fatigues jodhpurs khakis levis nylons pants scrubs shorts skivvies "
    "slacks sweats trunks waders"
)
LOOKED_THROUGH = "eyeglasses glasses shades spectacles specs sunglasses"
TOOLS = "bellows pliers plyers shears snips"
PLACES = "alps balkans bleachers falls kansas laos mars philippines roma stairs steps thebes wales woods"
GAMES = "charades checkers dominoes dominos draughts marbles"
PEOPLE_AND_FOOD = "fries magi masses troops"
# That they are plurals has been forgotten (datum, stamen, trivium), or they never were (corp, leu, specie).
HARDLY_PLURALS = (
    "auspices belongings cineraria cola corps crying data dive ephemera hypochondria ischia lei physics "
    "signore species stamina stigmata trivia"
)

NOT_BY_S_ALONE = ("ches", "shes", "sses", "xes", "leaves")
"""Endings at which the `s` alone does not make the plural, whatever noun stands before it."""

OWN_MEANING = frozenset(
    " ".join([WORN, LOOKED_THROUGH, TOOLS, PLACES, GAMES, PEOPLE_AND_FOOD, HARDLY_PLURALS]).split()
)
"""Plurals that stand as they are."""


def lemma(word: str, *, tagged_plural: bool) -> str | None:
    """The noun lemma of a lower-case word, if WordNet has one."""
    nouns = wordnet.nouns()
    known = nouns.first_sense(word) is not None
    if known and (word in OWN_MEANING or (word.endswith("s") and not tagged_plural)):
        return word
    base = _base(word)
    # An ox has a plural; the symbol for rhenium has not: res is no more than it is.
    if known and (base is None or (len(base) <= 2 and not nouns.head_key(base))):
        return word
    return base


def _base(word: str) -> str | None:
    """What it is the plural of. The shortest base is not always it: vases are no vas, soles no sol."""
    bases = wordnet.nouns().bases(word)
    if word[:-1] in bases and not word.endswith(NOT_BY_S_ALONE):
        return word[:-1]
    return min(bases, key=len, default=None)
