"""From captions to class ids: an extractor bound to a vocabulary."""

from collections.abc import Iterable

from catlipctl import labels
from catlipctl.errors import DataError
from catlipctl.vocabulary.vocabulary import Vocabulary


class Encoder:
    """Class ids of an image's captions, each id once, ascending. Picklable into loader workers."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._extract = labels.extractor(vocabulary.extractor)
        if self._extract.version != vocabulary.extractor_version:
            raise DataError(
                f"the vocabulary was counted with {vocabulary.extractor} {vocabulary.extractor_version}; "
                f"this is {vocabulary.extractor} {self._extract.version}, whose labels differ",
                "count it again: catlipctl vocab build SOURCE --out vocabulary.json",
            )
        self._index = vocabulary.index

    def __call__(self, captions: Iterable[str]) -> list[int]:
        ids = {self._index.get(key) for caption in captions for key in self._extract(caption)}
        return sorted(i for i in ids if i is not None)
