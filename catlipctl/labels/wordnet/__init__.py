"""WordNet 3.0's nouns, compiled into the package: no corpus to download, no race for one between workers."""

from functools import cache

from catlipctl.labels.wordnet.graph import NounGraph
from catlipctl.labels.wordnet.similarity import Nearest

__all__ = ["Nearest", "NounGraph", "nouns"]


@cache
def nouns() -> NounGraph:
    """The noun graph, loaded once a process (a tenth of a second)."""
    return NounGraph()
