"""Vocabularies: which label keys are classes, and which class id each one has."""

from catlipctl.vocabulary.counting import build
from catlipctl.vocabulary.encoder import Encoder
from catlipctl.vocabulary.vocabulary import Vocabulary, load, parse

__all__ = ["Encoder", "Vocabulary", "build", "load", "parse"]
