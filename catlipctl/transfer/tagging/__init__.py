"""A pre-trained tower as a tagger: a threshold a class, fitted on captions, and what its tags are worth."""

from catlipctl.transfer.tagging.heads import tagger_of
from catlipctl.transfer.tagging.tag import TaggerResult, fit_tagger

__all__ = ["TaggerResult", "fit_tagger", "tagger_of"]
