"""Punkt's English parameters, compiled into the package: where a sentence ends, with no corpus to download.

Abbreviations, collocations, sentence starters, and in which case and place words stand, as learned by the
algorithm of Kiss and Strunk (2006, https://aclanthology.org/J06-4003) from newspaper text and published with
NLTK (`punkt_tab`). `python -m catlipctl.labels.punkt` compiles them anew; it needs those data.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from catlipctl.files import write_json

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktParameters

DATA = Path(__file__).with_name("punkt.json")


def parameters() -> "PunktParameters":
    """NLTK's own parameter object, filled."""
    from nltk.tokenize.punkt import PunktParameters

    document = json.loads(DATA.read_text(encoding="utf-8"))
    filled = PunktParameters()
    filled.abbrev_types = set(document["abbreviations"])
    filled.collocations = set(map(tuple, document["collocations"]))
    filled.sent_starters = set(document["sentence_starters"])
    filled.ortho_context = _Contexts(document["orthographic_context"])
    return filled


class _Contexts(dict[str, int]):
    """In NLTK's own, a defaultdict, each unknown word that is asked for stays: millions, of web captions."""

    def __missing__(self, word: str) -> int:
        return 0


def main(path: Path = DATA) -> None:
    """Write the package data anew."""
    from nltk.tokenize.punkt import PunktTokenizer

    try:
        learned = PunktTokenizer("english")._params
    except LookupError as error:
        raise SystemExit(
            "error: NLTK's data is missing\nhint: python -m nltk.downloader punkt_tab"
        ) from error
    document = {
        "abbreviations": sorted(learned.abbrev_types),
        "collocations": sorted(learned.collocations),
        "sentence_starters": sorted(learned.sent_starters),
        "orthographic_context": dict(sorted(learned.ortho_context.items())),
    }
    write_json(path, document)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
