"""Tags equal `nltk.pos_tag`'s, whatever the tokens."""

import gzip
import importlib.metadata
import json
import os
import re
import string
import subprocess
import sys
import zipfile
from pathlib import Path

import nltk
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catlipctl import labels
from catlipctl.labels.chunks import Chunks
from catlipctl.labels.tagger import Tagger
from catlipctl.labels.tokens import word_tokenize


@pytest.fixture(scope="module")
def tagger(nltk_data: Path) -> Tagger:
    assert nltk_data
    return Tagger()


def nltk_tags(tokens: list[str]) -> list[str]:
    return [tag for _, tag in nltk.pos_tag(tokens)]


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [""],
        ["", " ", "a b", "\n"],
        ["-", "-dog", "dog-", "a-b", "--"],
        ["1999", "2000s", "1", "½", "²", "٣٤٥٦", "12,5", "1-2"],
        ["-START-", "-START2-", "-END-", "-END2-", "!YEAR", "!HYPHEN"],
        ["İ", "ß", "DOG", "狗", "🐶", "\ud800", "x" * 10_000],
    ],
)
def test_odd_tokens(tagger: Tagger, tokens: list[str]) -> None:
    assert tagger(tokens) == nltk_tags(tokens)


def test_ties_are_broken_as_nltk_breaks_them(nltk_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in which most tags tie, exactly or but for the order of NLTK's sums."""
    assert nltk_data
    tags = ["A", "B", "C"]
    weights = {
        "bias": {"A": 0.1, "B": 0.3, "C": 0.3},
        "i suffix dog": {"A": 0.2},
        "i pref1 d": {"A": 0.3, "B": 0.3, "C": 0.3},
        "i-1 tag A": {"A": 0.7, "B": 0.7},
        "i word dog": {"A": 0.1, "B": 0.1, "C": 0.1},
        "i+1 word cat": {"C": -0.6, "A": 0.1},
    }
    files = {"weights": weights, "tagdict": {"cow": "B"}, "classes": tags}
    monkeypatch.setattr("catlipctl.labels.tagger._parameters", lambda name: json.dumps(files[name]).encode())
    reference = nltk.PerceptronTagger(load=False)
    reference.decode_json_params((weights, files["tagdict"], tags))
    tied = Tagger()
    words = ["dog", "cat", "cow", "duck"]
    for a in words:
        for b in words:
            for c in words:
                assert tied([a, b, c]) == [tag for _, tag in reference.tag([a, b, c])]


@pytest.mark.slow
def test_29000_captions_of_people(tagger: Tagger, shared_data: Path) -> None:
    with gzip.open(shared_data / "captions/multi30k-29k.en.txt.gz", "rt", encoding="utf-8") as stream:
        captions = [word_tokenize(line) for line in stream]
    assert len(captions) == 29_000
    assert [tokens for tokens in captions if tagger(tokens) != nltk_tags(tokens)] == []


@pytest.mark.slow
def test_noisy_text(tagger: Tagger) -> None:
    """What is written about the installed packages: code, tables, addresses, markup."""
    texts = (distribution.metadata.get_payload() or "" for distribution in importlib.metadata.distributions())
    lines = sorted({line for text in texts for line in str(text).splitlines() if line.strip()})[:8_000]
    assert len(lines) > 1_000
    for line in lines:
        tokens = line.split()
        assert tagger(tokens) == nltk_tags(tokens)


@pytest.fixture(scope="module")
def known(tagger: Tagger) -> list[str]:
    """Words that the weights know."""
    return sorted({feature.split(" ", 2)[2] for feature in tagger._weights if feature.startswith("i word ")})


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_20000_adversarial_lists_of_tokens(tagger: Tagger, known: list[str], data: st.DataObject) -> None:
    word = st.one_of(
        st.sampled_from(known),
        st.sampled_from(known).map(str.title),
        st.text(max_size=6),
        st.text(string.digits + "-.,:/", min_size=1, max_size=6),
        st.text("aeioust-", max_size=8),
    )
    for tokens in data.draw(st.lists(st.lists(word, max_size=7), min_size=20, max_size=20)):
        assert tagger(tokens) == nltk_tags(tokens)


@pytest.mark.slow
@settings(max_examples=2_000, database=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(["dog", "dogs.", "'tis", '"a', "can't", "a)", ").", "u.s.", "cannot", "x:"]),
            st.text("ab .,'\"()?!&;<>%+-\n\t", max_size=5),
        ),
        max_size=8,
    ).map(" ".join)
)
def test_chunks_have_the_tokens_of_the_whole_caption(caption: str) -> None:
    from catlipctl.labels.chunks import clean

    assert CHUNKS(caption) == word_tokenize(clean(caption))


CHUNKS = Chunks(list, entries=2**10)


def test_missing_data_are_named_with_the_command_that_brings_them(tmp_path: Path) -> None:
    """In a process of its own, whose NLTK finds nothing."""
    script = (
        "import nltk; nltk.data.path[:] = []\n"
        "from catlipctl import labels\n"
        "from catlipctl.errors import MachineError\n"
        "x = labels.extractor('nouns')\n"
        "assert len(x.reach()) > 60_000\n"
        "for ask in (lambda: x('a dog'), lambda: x.explain('a dog'), lambda: x.version):\n"
        "    try: ask()\n"
        "    except MachineError as error: print(error.exit_code, error.hint)\n"
    )
    environment = {**os.environ, "NLTK_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(
            "5 python -m nltk.downloader averaged_perceptron_tagger_eng; without a network"
        )
    assert labels.EXTRACTORS.count("nouns") == 1


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """catlipctl in a fresh home, where NLTK has nothing of this machine's."""
    environment = {name: value for name, value in os.environ.items() if name != "NLTK_DATA"}
    command = [sys.executable, "-m", "catlipctl", *arguments, "--extractor", "nouns"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=home, env={**environment, "HOME": str(home)}
    )


def test_the_offline_way_of_the_hint_works(nltk_data: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a dog on a beach\n")
    done = run(tmp_path, "vocab", "build", "--data", "captions.txt")
    assert done.returncode == 5
    error, hint = done.stderr.splitlines()[-2:]
    assert "averaged_perceptron_tagger_eng.zip, which is missing" in error
    name, folder = re.search(r"copy \S+/(\S+) into (\S+), as it is", hint).groups()
    assert folder == f"{tmp_path}/nltk_data/taggers"
    Path(folder).mkdir(parents=True, mode=0o755)
    # As nltk_data packs it: a folder of the zip's own name.
    with zipfile.ZipFile(Path(folder, name), "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted((nltk_data / "taggers" / Path(name).stem).iterdir()):
            packed.write(file, f"{Path(name).stem}/{file.name}")
    for path in (tmp_path / "nltk_data", Path(folder), Path(folder, name)):
        path.chmod(path.stat().st_mode & ~0o022)
    done = run(tmp_path, "labels", "a dog on a beach")
    assert done.returncode == 0, done.stderr
    assert "n02084071" in done.stdout
    Path(folder).chmod(0o777)  # from there NLTK reads nothing
    done = run(tmp_path, "labels", "a dog on a beach")
    assert done.returncode == 5
    assert f"hint: chmod -R go-w {tmp_path}/nltk_data" in done.stderr
