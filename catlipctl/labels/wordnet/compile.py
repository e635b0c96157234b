"""Compile WordNet 3.0's nouns into `nouns.npz`: `python -m catlipctl.labels.wordnet.compile`.

Needs NLTK's corpus `wordnet` (Princeton's files, WordNet 3.0), which the package data spares all others.
Facts only: offsets, spellings, order of senses, hypernyms, exceptional plurals; no glosses.
"""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlipctl.errors import MachineError
from catlipctl.labels.wordnet.graph import DATA

SYNSETS = 82_115
"""Noun synsets in WordNet 3.0 (wnstats(7WN))."""


def tables(wordnet: Any) -> dict[str, NDArray[Any]]:
    """The arrays of `nouns.npz`, from NLTK's WordNet reader.

    Ragged tables are two arrays, `NAME` and `NAME_start`: row i is `NAME[NAME_start[i] : NAME_start[i + 1]]`.
    `hypernyms_of_instances` says of each value of `hypernyms` whether it is an instance hypernym.
    """
    synsets = sorted(wordnet.all_synsets("n"), key=lambda synset: synset.offset())
    if len(synsets) != SYNSETS:
        raise MachineError(f"this WordNet has {len(synsets):,} noun synsets; WordNet 3.0 has {SYNSETS:,}")
    row = {synset.offset(): i for i, synset in enumerate(synsets)}
    spellings = sorted({name for s in synsets for name in s.lemma_names()}, key=lambda n: (n.lower(), n))
    spelling_row = {name: i for i, name in enumerate(spellings)}
    # The reader knows no public way to a lemma's senses without morphology.
    senses = wordnet._lemma_pos_offset_map
    exceptions = wordnet._exception_map["n"]
    # Offset of what stands above -> whether this is an instance of it (Jordan of river), not a kind.
    above = [
        {h.offset(): False for h in s.hypernyms()} | {h.offset(): True for h in s.instance_hypernyms()}
        for s in synsets
    ]
    return {
        "offsets": np.array([synset.offset() for synset in synsets], np.int32),
        "spellings": _text(spellings),
        **_ragged("lemmas", [[spelling_row[name] for name in s.lemma_names()] for s in synsets]),
        **_ragged("senses", [[row[offset] for offset in senses[name.lower()]["n"]] for name in spellings]),
        **_ragged("hypernyms", [[row[h] for h in sorted(edges)] for edges in above]),
        "hypernyms_of_instances": np.array([of for edges in above for _, of in sorted(edges.items())], bool),
        "exceptions": _text(" ".join([word, *bases]) for word, bases in sorted(exceptions.items())),
    }


def _ragged(name: str, rows: list[list[int]]) -> dict[str, NDArray[Any]]:
    start = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return {name: np.fromiter(chain.from_iterable(rows), np.int32), f"{name}_start": start}


def _text(lines: Any) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(lines).encode("ascii"), np.uint8)


def main(path: Path = DATA) -> None:
    """Write the package data anew."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError as error:
        raise SystemExit(
            "error: NLTK's corpus is missing\nhint: python -m nltk.downloader wordnet"
        ) from error
    compiled: dict[str, Any] = dict(tables(wordnet))
    np.savez_compressed(path, **compiled)
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
