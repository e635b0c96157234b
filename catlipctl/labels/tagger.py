"""Penn tags as `nltk.pos_tag` gives them, from the same weights, many times faster.

NLTK adds up 14 features a word, each a dictionary of weights by tag. Here the weights of a feature for all 45
tags stand side by side in one long integer, so that a single addition adds them all; what depends on a word
alone is added up once and remembered. Weights are thousandths, so these sums are exact, while NLTK's sums of
floats depend on their order: where two tags tie, NLTK is asked.
"""

import hashlib
import json
import warnings
from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import nltk.data
import numpy as np
from nltk.data import find, open_datafile
from nltk.tag.perceptron import AveragedPerceptron, PerceptronTagger
from numpy.typing import NDArray

from catlipctl.errors import MachineError

DATA = "averaged_perceptron_tagger_eng"
SOURCE = f"https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/taggers/{DATA}.zip"
FILES = ("weights", "tagdict", "classes")
START, END = PerceptronTagger.START, PerceptronTagger.END

PLACE = np.dtype("<u4")
"""Where a tag's thousandths stand in the integer of a feature, or of a sum of features."""
ZERO = 2**27
"""What stands for 0, so that no place is negative and 14 features together fit: weights up to 134,217."""

NOTHING: dict[str, int] = {}


class Form(NamedTuple):
    """A token, and what it adds to the scores of its own tags and of those of the words around it."""

    token: str
    normal: str
    """The token as its neighbours see it: NLTK writes !YEAR, !DIGITS or !HYPHEN for some."""
    only_tag: str | None
    """The tag of a word that has but one, whatever stands around it."""
    own: int
    after: dict[str, int]
    """Tag of the word before -> what replaces `own`, where the two together have weights."""
    as_left: int
    as_second_left: int
    as_right: int
    as_second_right: int


class Tagger:
    """Tokens -> Penn tags.

    Raises:
        MachineError: NLTK has no data for its tagger here.
    """

    def __init__(self) -> None:
        weights, only_tags, tags = map(_parameters, FILES)
        self.version = hashlib.sha256(weights + only_tags + tags).hexdigest()[:8]
        """A short hash of NLTK's data: other weights give other tags."""
        self._nltk = PerceptronTagger(load=False)
        self._nltk.decode_json_params(({}, json.loads(only_tags), json.loads(tags)))
        self._tags = sorted(self._nltk.classes)
        self._weights = _packed(json.loads(weights), self._tags)
        self._tags_before = _tags_before(self._weights)
        self._of_tags = self._sums_of_tags()
        self._start, self._end = ([self._context(word) for word in words] for words in (START, END))

    def __call__(self, tokens: list[str]) -> list[str]:
        """The tag of each token."""
        return self.tags([self.form(token) for token in tokens])

    def tags(self, forms: list[Form]) -> list[str]:
        """The tag of each token, given what `form` says of it."""
        around = [*self._start, *forms, *self._end]
        sums = bytearray(len(self._tags) * PLACE.itemsize)
        scores = np.frombuffer(sums, PLACE)
        first_of_best, last_of_best = scores.argmax, scores[::-1].argmax
        tags = []
        before, second_before = START
        for i, form in enumerate(forms):
            tag = form.only_tag
            if tag is None:
                total = (
                    self._of_tags[second_before][before]
                    + form.after.get(before, form.own)
                    + around[i].as_second_left
                    + around[i + 1].as_left
                    + around[i + 3].as_right
                    + around[i + 4].as_second_right
                )
                sums[:] = total.to_bytes(len(sums), "little")
                best = int(first_of_best())
                if best + last_of_best() == len(scores) - 1:
                    tag = self._tags[best]
                else:
                    tag = self._tag_of_nltk(around[i : i + 5], before, second_before)
            tags.append(tag)
            before, second_before = tag, before
        return tags

    def _tag_of_nltk(self, around: list[Form], before: str, second_before: str) -> str:
        """NLTK's choice between tags that tie: it hangs on the sixteenth digit of its sums."""
        context = [form.normal for form in around]
        features = self._nltk._get_features(0, around[2].token, context, before, second_before)
        known = filter(self._weights.__contains__, features)
        model = AveragedPerceptron({feature: self._unpacked(feature) for feature in known})
        model.classes = self._nltk.classes
        tag, _ = model.predict(features)
        return tag

    def _unpacked(self, feature: str) -> dict[str, float]:
        places = self._weights[feature].to_bytes(len(self._tags) * PLACE.itemsize, "little")
        thousandths = np.frombuffer(places, PLACE).astype(np.int64) - ZERO
        return dict(zip(self._tags, (thousandths / 1000).tolist(), strict=True))

    def form(self, token: str) -> Form:
        """What a token adds to the scores; worth remembering."""
        word = self._nltk.normalize(token)
        own = self._sum("bias", f"i suffix {token[-3:]}", f"i pref1 {token[:1]}", f"i word {word}")
        after = NOTHING
        if word in self._tags_before:
            pairs = ((tag, self._weights[f"i-1 tag+i word {tag} {word}"]) for tag in self._tags_before[word])
            after = {tag: own + weights for tag, weights in pairs}
        return Form(token, word, self._nltk.tagdict.get(token) or None, own, after, *self._for_others(word))

    def _context(self, word: str) -> Form:
        """What stands around a sentence."""
        return Form(word, word, None, 0, NOTHING, *self._for_others(word))

    def _for_others(self, word: str) -> tuple[int, int, int, int]:
        """What a normalised word adds to the scores of the words around it."""
        ending = word[-3:]
        return (
            self._sum(f"i-1 word {word}", f"i-1 suffix {ending}"),
            self._sum(f"i-2 word {word}"),
            self._sum(f"i+1 word {word}", f"i+1 suffix {ending}"),
            self._sum(f"i+2 word {word}"),
        )

    def _sums_of_tags(self) -> dict[str, dict[str, int]]:
        """Tags of the second word before and of the word before -> what they add."""
        pairs = [START[::-1], *((START[0], tag) for tag in self._tags)]
        pairs += [(second, first) for second in self._tags for first in self._tags]
        sums: dict[str, dict[str, int]] = defaultdict(dict)
        for second, first in pairs:
            names = f"i-1 tag {first}", f"i-2 tag {second}", f"i tag+i-2 tag {first} {second}"
            sums[second][first] = self._sum(*names)
        return dict(sums)

    def _sum(self, *features: str) -> int:
        found = [self._weights[feature] for feature in features if feature in self._weights]
        # A sum would be a copy.
        return found[0] if len(found) == 1 else sum(found)


def require_data() -> None:
    """Ask for the data of NLTK's tagger, without the half second that making a tagger of them takes.

    Raises:
        MachineError: they are not here.
    """
    for name in FILES:
        _parameters(name)


def _parameters(name: str) -> bytes:
    """One of the files of NLTK's English tagger, from a folder or a zip, where NLTK finds it."""
    with warnings.catch_warnings(record=True) as refused:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            folder = find(f"taggers/{DATA}/")
            with open_datafile(folder, f"{DATA}.{name}.json", encoding=None) as stream:
                return stream.read()
        except (LookupError, OSError, BadZipFile) as error:
            # NLTK warns of files that it does not read, because others may write to them.
            raise _missing(str(refused[0].message) if refused else "") from error


def _missing(refused: str) -> MachineError:
    """What is not here, and the two ways to bring it: by the network, and by hand."""
    folder = Path(nltk.data.path[0] if nltk.data.path else Path.home() / "nltk_data") / "taggers"
    needs = "the extractor nouns needs the data of NLTK's part-of-speech tagger"
    if refused:
        return MachineError(f"{needs}: {refused}", f"chmod -R go-w {folder.parent}")
    return MachineError(
        f"{needs}, {DATA}.zip, which is missing",
        f"python -m nltk.downloader {DATA}; without a network, copy {SOURCE} into {folder}, as it is",
    )


def _packed(weights: dict[str, dict[str, float]], tags: list[str]) -> dict[str, int]:
    """Feature -> its weights for all tags, each in its own place of one integer."""
    column = {tag: i for i, tag in enumerate(tags)}
    rows = np.repeat(np.arange(len(weights)), [len(of_feature) for of_feature in weights.values()])
    columns = [column[tag] for tag in chain.from_iterable(weights.values())]
    values = np.fromiter(chain.from_iterable(map(dict.values, weights.values())), float)
    thousandths = np.rint(values * 1000).astype(np.int64)
    if not np.array_equal(thousandths / 1000, values) or np.abs(thousandths).max(initial=0) >= ZERO:
        raise MachineError(
            "the weights of NLTK's part-of-speech tagger are not in thousandths, as NLTK trains them",
            f"python -m nltk.downloader --force {DATA}",
        )
    places: NDArray[np.uint32] = np.full((len(weights), len(tags)), ZERO, PLACE)
    places[rows, columns] = ZERO + thousandths
    return {name: int.from_bytes(row.tobytes(), "little") for name, row in zip(weights, places, strict=True)}


def _tags_before(features: dict[str, int]) -> dict[str, list[str]]:
    """Word -> the tags of a word before it that have weights together with it."""
    tags: dict[str, list[str]] = defaultdict(list)
    for feature in features:
        if feature.startswith(pair := "i-1 tag+i word "):
            tag, word = feature.removeprefix(pair).split(" ", 1)
            tags[word].append(tag)
    return dict(tags)
