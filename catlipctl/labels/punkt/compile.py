"""Compile Punkt's English parameters into `english.json`: `python -m catlipctl.labels.punkt.compile`.

Needs NLTK's data `punkt_tab`, which the compiled package data then spares everybody else.
"""

from pathlib import Path

from catlipctl.files import write_json
from catlipctl.labels.punkt import DATA


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
