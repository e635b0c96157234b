"""What a label set is."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a label set, with what it means.

    synsets: keys of WordNet nouns (`n02084071`).
    One: the label is that synset.
    Several: the label is made of several words (`restaurant_kitchen`), and takes part in all of them. Whoever
    looks for its classifier row (CatLIP 4.2) looks for a row of each synset, and averages those that are
    found. None: nothing in WordNet fits.
    """

    name: str
    synsets: tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set; a label's place is its class id, and no two labels have one name."""

    name: str
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def find(self, name: str) -> int | None:
        """The class id of a class folder's name: a label, or a synset's key that only one label has; else
        None.

        Where it leaves no doubt, what file systems and data sets change does not count: case, what is between
        words.
        """
        return self._ids[name] if name in self._ids else self._ids.get(_plain(name))

    @cached_property
    def _ids(self) -> dict[str, int]:
        spellings = [(_plain(label.name), i) for i, label in enumerate(self.labels)]
        spellings += [(label.synsets[0], i) for i, label in enumerate(self.labels) if len(label.synsets) == 1]
        uses = Counter(spelling for spelling, _ in spellings)
        exact = {label.name: i for i, label in enumerate(self.labels)}
        return {spelling: i for spelling, i in spellings if uses[spelling] == 1} | exact


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
