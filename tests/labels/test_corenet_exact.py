"""`corenet`, remembered chunk by chunk, gives what NLTK gives for the text as a whole: on many kinds."""

import gzip
import random
import re
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catlipctl import labels
from catlipctl.labels import wordnet

EXTRACT = labels.extractor("corenet")

Label = Callable[[str], list[str]]


def differences(captions: list[str], released: Label) -> list[str]:
    first = [EXTRACT(caption) for caption in captions]
    # What is remembered is no other than what was computed.
    again = captions[-20_000:]
    assert list(map(EXTRACT, again)) == first[-20_000:]
    return [c for c, keys in zip(captions, first, strict=True) if keys != released(c)]


@pytest.mark.slow
def test_29000_captions_of_people(released: Label, shared_data: Path) -> None:
    with gzip.open(shared_data / "captions/multi30k-29k.en.txt.gz", "rt", encoding="utf-8") as stream:
        captions = [line.rstrip("\n") for line in stream]
    assert len(captions) == 29_000
    assert differences(captions, released) == []


# Each condition that the module `tokens` names, and what nearly meets it.
FRAGMENTS = re.split(
    r" +",
    "dog dogs cats women men's automobile hot-dog t-shirt ice_cream _ a I x b 7 2,000 3.5 1990s 10-20 3:4 "
    "1st "
    # Contractions, and words that hold them.
    "cannot can't don't won't gimme gonna gotta lemme wanna wannabe d'ye more'n 'tis 'twas it's dogs' dog's' "
    "we'll "
    "you've cannot-do pre-wanna-be gimmes 'n' rock'n'roll o'clock y'all 'em 's 't 'd 'll n't s' "
    # Full stops: abbreviations, initials, numbers, ellipses, names of files.
    "u.s. U.S.A. e.g. i.e. st. no. dr. mr. inc. vs. etc. a.m. j. p.s. 1. 2.0. .. ... .... … .5 a.b img_2.jpg "
    "dog. cat? dog! ?! !!! ?.. .? dog.cat dog.. gen. lee the is . . ? ! ? "
    # Quotes and closers, before and behind.
    "\" \" ' ' '' ``  ` \"dog dog\" 'dog dog' ''dog dog'' \"'s ) ( ] [ } { > (dog) [dog] dog) (dog .) .\" "
    ".' .'' .)\" "
    '?" !) ). ". \'. » « ” “ ’ ‘ „ ‚ dog” “dog dog’s ’s »dog dog» ”) .” .’ .» '
    # Commas, colons, dashes and the rest.
    ", , : ; dog, dog: dog; ,dog a,b a:b ,, ,2 :) ;-) - -- --- – — ― dog-- --dog -dog dog- / \\ | ~ ^ = * ** "
    "*dog # @ "
    "$5 $ 12% % & &c # *cat* http://www.dog.com/cat.html?x=1 dog@cat.com #dog @cat "
    # What is cleaned away: entities, tags, escapes, plus signs.
    "&amp; &lt;b&gt; &quot;dog&quot; &#39;s &nbsp; &#xD800; &eacute &#8217;s &hellip; &raquo; &laquo;dog "
    "<b> </b> <br/> <> < > <a <!-- + dog+cat c++ %20 %22dog%22 %2B %0A %C3%A9 %FF %zz %e2%80%99s %c2%a0 "
    # Letters elsewhere.
    "café cafe\u0301 CAFÉ 🐶 👩‍🚒 一只狗 狗。 собаки. ＤＯＧ！ ﬁsh İ ß ſ dog'ſ K Ã© â€™s ï»¿ "
    "do\xadgs naïve ½ ٣ x٣,٣ \ud800",
)
SPACES = [
    "",
    "\t",
    "\n",
    "\r\n",
    "\v",
    "\f",
    "\r",
    "\x1c",
    "\x1f",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2003",
    "\u2028",
]
SPACES += [
    "\u202f",
    "\u3000",
    "\u200b",
    "\u180e",
    "\ufeff",
    "\x00",
    "\x07",
    "\x1b[31m",
    "\x7f",
    "  ",
    " \n ",
    "\n\n",
]
LEMMAS = [lemma for key in wordnet.nouns().keys[::20] for lemma in wordnet.nouns().lemmas(key)]
ENDINGS = ["", "s", "es", ".", ",", "'s", "s'", "?", "!", '"', "'", ")", ".)", '."', "-", ":", "..."]


def adversarial(count: int, seed: int = 20_24) -> Iterator[str]:
    """Captions of fragments glued and apart, the same in every run."""
    draw = random.Random(seed)
    for _ in range(count):
        glued, odd = draw.choice([0.05, 0.3, 0.6]), draw.choice([0, 0, 0.05, 0.3])
        caption = ""
        for _ in range(draw.choice([1, 2, 3, 5, 8, 13])):
            if draw.random() < 0.3:
                piece = draw.choice(LEMMAS) + draw.choice(ENDINGS)
            else:
                piece = draw.choice(FRAGMENTS)
            piece = piece.upper() if draw.random() < 0.1 else piece
            between = draw.choice(SPACES) if draw.random() < odd else " "
            caption += piece + ("" if draw.random() < glued else between)
        yield caption


@pytest.mark.slow
def test_200000_adversarial_captions(released: Label) -> None:
    assert differences(list(adversarial(200_000)), released) == []


def noisy_lines(count: int) -> list[str]:
    """Distinct lines that people wrote about software: metadata and source text of installed packages."""
    folder = Path(sysconfig.get_path("purelib"))
    lines: dict[str, None] = {}
    for pattern in ("*.dist-info/METADATA", "nltk/**/*.py", "torch/*.py", "*/*.py"):
        for path in sorted(folder.glob(pattern)):
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                if re.search("[a-z] [a-z]", line):
                    lines[line] = None
                if len(lines) == count:
                    return list(lines)
    return list(lines)


@pytest.mark.slow
def test_50000_lines_of_real_noisy_english(released: Label) -> None:
    lines = noisy_lines(50_000)
    assert len(lines) == 50_000
    assert differences(lines, released) == []
