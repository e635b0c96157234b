"""A caption as the released CatLIP code (CoreNet) cleans it, before it is cut into words."""

import re
from urllib.parse import unquote

import ftfy

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
