"""The embedded emoji: who is on which side, what the shards hold, the same bytes each time."""

import io
import json
import tarfile
from pathlib import Path

import emoji as names
import pytest
from PIL import Image

from catlipctl import files
from catlipctl.data import emoji
from catlipctl.data.emoji import sides
from catlipctl.errors import MachineError, UsageError
from catlipctl.labels import targets


@pytest.fixture
def built() -> Path:
    """The cache that all tests share: ten seconds of drawing, once."""
    emoji.pairs()
    return files.cache_dir()


def members(path: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            key, _, extension = entry.name.partition(".")
            stream = tar.extractfile(entry)
            assert stream is not None
            found.setdefault(key, {})[extension] = stream.read()
    return found


def name(codepoints: str) -> str:
    """The CLDR name by the `emoji` package."""
    return names.demojize("".join(chr(int(point, 16)) for point in codepoints.split("-"))).strip(":")


def test_shards_are_webdataset_pairs_in_both_drawings(built: Path) -> None:
    shards = emoji.pairs(built)
    assert len(shards) == emoji.SHARDS
    pairs = {key: parts for shard in shards for key, parts in members(shard).items()}
    assert len(pairs) > 2_500
    assert all(parts.keys() == {"png", "txt", "json"} for parts in pairs.values())
    for key, parts in list(pairs.items())[::97]:
        about = json.loads(parts["json"])
        assert about["caption"] == parts["txt"].decode()
        assert key == f"{about['codepoints'].lower()}-{about['drawing']}"
        picture = Image.open(io.BytesIO(parts["png"]))
        assert (picture.mode, picture.size) == ("RGB", (emoji.SIZE, emoji.SIZE))
        assert len(picture.getcolors(picture.width * picture.height) or []) > 1
    bases = {key.rpartition("-")[0] for key in pairs}
    assert len(pairs) == 2 * len(bases)


def test_no_emoji_and_no_name_is_on_two_sides(built: Path) -> None:
    folder = emoji.transfer(built)
    found = {
        side: {path.stem.rpartition("-")[0].upper() for path in (folder / side).glob("*/*.png")}
        for side in ("train", "test")
    }
    found["pairs"] = {
        key.rpartition("-")[0].upper() for shard in emoji.pairs(built) for key in members(shard)
    }
    assert all(found.values())
    for one, other in [("train", "test"), ("train", "pairs"), ("test", "pairs")]:
        assert found[one].isdisjoint(found[other])
        assert {name(e) for e in found[one]}.isdisjoint(name(e) for e in found[other])


def test_names_lead_to_the_folders(built: Path) -> None:
    assert emoji.built(built) == emoji.transfer(built).parent
    assert sorted(emoji.folder_of(emoji.PAIRS, built).glob("*.tar")) == emoji.pairs(built)
    for name in (emoji.TRAIN, emoji.TEST):
        assert {path.name for path in emoji.folder_of(name, built).iterdir()} == emoji.CLASSES.keys()
    assert list(emoji.captions()) == [e.caption for e in sides.split().pairs]
    with pytest.raises(UsageError, match="no embedded data emoji:transfer"):
        emoji.folder_of(emoji.TRANSFER, built)


def test_genders_share_a_base() -> None:
    def base(text: str) -> str:
        codepoints = "-".join(f"{ord(c):04X}" for c in text if c != "\ufe0f")
        return sides.Emoji(codepoints, "", "", "", {}).base

    assert base("🏃") == base("🏃‍♀️") == base("🏃‍♂️") == base("🏃‍♀️‍➡️")
    assert base("👨‍🚒") == base("👩‍🚒") == base("🧑‍🚒") != base("🧑‍⚕️")
    assert base("👩‍❤️‍💋‍👨") == base("👨‍❤️‍💋‍👨")
    assert len({base(e) for e in "♀♂➡🧑👋🏃"}) == 6


def test_every_class_can_be_learned_and_tested(built: Path) -> None:
    folder = emoji.transfer(built)
    for side, least in (("train", 20), ("test", 8)):
        counts = {f.name: len(list(f.glob("*.png"))) for f in (folder / side).iterdir()}
        assert counts.keys() == emoji.CLASSES.keys()
        assert min(counts.values()) >= least
        assert max(counts.values()) < 0.2 * sum(counts.values())


def test_the_classes_are_those_of_the_built_in_label_set() -> None:
    assert {label.name for label in targets.load("emoji").labels} == emoji.CLASSES.keys()


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("😀", "grinning face"),
        ("🌭", "hot dog, hotdog"),
        ("👨‍🦲", "man bald"),
        ("👋", "waving hand, wave, waving hand sign"),
    ],
)
def test_captions_are_names_in_words(text: str, caption: str) -> None:
    codepoints = "-".join(f"{ord(c):04X}" for c in text)
    found = next(e for e in sides.all_emoji() if e.codepoints == codepoints)
    assert found.caption == caption


def test_no_caption_has_the_marks_of_a_short_code() -> None:
    captions = [e.caption for e in sides.all_emoji()]
    assert all(caption and "_" not in caption and "::" not in caption for caption in captions)
    assert not any(caption.startswith(":") or caption.endswith(":") for caption in captions)


def test_built_once_and_the_same_bytes_each_time(built: Path, tmp_path: Path, monkeypatch) -> None:
    first = emoji.pairs(built)[0]
    stamp = first.stat().st_mtime_ns
    emoji.pairs(built)
    assert first.stat().st_mtime_ns == stamp
    few = sides.Split(sides.split().pairs[:40], {})
    monkeypatch.setattr(emoji, "split", lambda: few)
    a, b = (emoji.pairs(tmp_path / run) for run in "ab")
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]
    assert not list(tmp_path.glob("*/.*"))


def test_credits_are_shown_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(emoji, "split", lambda: sides.Split([], {}))
    notes: list[str] = []

    class Noting(type(emoji.SILENT)):
        def note(self, message: str) -> None:
            notes.append(message)

    emoji.pairs(tmp_path, Noting())
    emoji.pairs(tmp_path, Noting())
    assert "\n".join(notes) == emoji.CREDITS
    for holder in ("Twemoji", "Twitter", "CC-BY 4.0", "OpenMoji", "CC-BY-SA 4.0"):
        assert holder in emoji.CREDITS


def test_missing_packages_are_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sides, "find_spec", lambda module: None if module == "resvg_py" else object())
    with pytest.raises(MachineError, match="resvg-py") as caught:
        emoji.pairs(tmp_path)
    assert caught.value.hint == "pip install 'catlipctl[demo]'"
