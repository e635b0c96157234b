"""Importing what Python itself pickled, what would run code, and what was exported."""

import builtins
import copyreg
import os
import pickle
import tracemalloc
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlipctl import labels
from catlipctl.errors import DataError
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.exchange import imported, listed_rows, listing
from catlipctl.vocabulary.pickled import pickled_rows

# The ten most frequent of DataComp, as the released code documents them.
RELEASED = {
    "n5928118": 52_418_327,
    "n13333833": 46_393_897,
    "n4960277": 38_781_582,
    "n7947958": 36_532_096,
    "n9638875": 34_564_013,
    "n928077": 30_290_822,
    "n7996689": 28_076_676,
    "n10787470": 24_182_531,
    "n5938976": 23_817_664,
    "n8559508": 23_476_398,
}
NAMES = ["image", "stock", "black", "free", "White", "design", "set", "woman", "template", "home"]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a file that lies alone in the current test's folder."""

    def write(data: bytes) -> Path:
        (tmp_path / "vocab.pkl").write_bytes(data)
        return tmp_path / "vocab.pkl"

    return write


Written = Callable[[bytes], Path]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_released_form_in_all_protocols(protocol: int, written: Written) -> None:
    path = written(pickle.dumps(RELEASED, protocol))
    found = imported(path)
    assert [name.split(" ")[0] for name in found.descriptions()] == NAMES
    assert found.keys[5] == "n00928077"
    assert found.counts == tuple(RELEASED.values())
    assert (found.extractor, found.extractor_version) == ("corenet", labels.extractor("corenet").version)
    assert (found.counted, found.source, found.captions) == ("occurrences", "vocab.pkl", None)
    assert found.least_threshold == 23_476_398
    assert imported(path, max_size=3).keys == found.keys[:3]


@given(
    st.dictionaries(st.text(max_size=20), st.integers(-(2**62), 2**62) | st.booleans() | st.none()),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_any_flat_dict_is_read_as_pickle_reads_it(flat: dict[str, Any], protocol: int) -> None:
    assert pickled_rows(pickle.dumps(flat, protocol), "x") == list(flat.items())


class Calls:
    """Pickled as a call of a function, as whoever wants to run code does it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class Plain:
    pass


def state_of(**state: Any) -> Plain:
    made = Plain()
    made.__dict__.update(state)
    return made


def armed(path: Path) -> list[bytes]:
    """Pickles that create `path` when they are loaded."""
    command = f"touch {path}"
    text = command.encode()
    sized = len(text).to_bytes(4, "little") + text
    calls: list[Any] = [
        Calls(os.system, command),
        Calls(eval, f"open({str(path)!r}, 'w')"),
        Calls(exec, f"open({str(path)!r}, 'w').close()"),
        Calls(builtins.open, str(path), "w"),
        Calls(numpy.ndarray.tofile, numpy.zeros(1), str(path)),
        {"n2084071": Calls(os.system, command)},
        {Calls(os.system, command): 1},
        Calls(list, Calls(map, os.system, [command])),
    ]
    by_hand = [
        b"cposix\nsystem\n(S'" + text + b"'\ntR.",  # GLOBAL, REDUCE
        b"(S'" + text + b"'\niposix\nsystem\n.",  # INST
        b"(cposix\nsystem\nS'" + text + b"'\no.",  # OBJ
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93X" + sized + b"\x85R.",  # STACK_GLOBAL
        b"\x80\x02cbuiltins\ngetattr\ncposix\nsystem\nX\x08\x00\x00\x00__call__\x86RX" + sized + b"\x85R.",
    ]
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    return [pickle.dumps(call, protocol) for call in calls for protocol in protocols] + by_hand


def test_what_would_run_code_is_refused_and_does_nothing(tmp_path: Path, written: Written) -> None:
    target = tmp_path / "created"
    for data in armed(target):
        pickle.loads(data)
        assert target.exists()
        target.unlink()
        path = written(data)
        with pytest.raises(DataError, match="asks for code to be run"):
            imported(path)
        assert not target.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02cbuiltins\nlist\n)\x81.",  # NEWOBJ
        b"\x80\x02))\x81.",
        b"\x80\x04)})\x92.",  # NEWOBJ_EX
        b"\x80\x02}}b.",  # BUILD
        b"\x80\x02)R.",  # REDUCE
        b"\x80\x04\x8c\ndill._dill\x8c\n_load_type\x93\x8c\x08CodeType\x85R.",
    ],
)
def test_no_opcode_that_makes_objects(opcodes: bytes) -> None:
    with pytest.raises(DataError, match=r"asks for code to be run|is not one dict|not a whole pickle"):
        pickled_rows(opcodes, "x")


@pytest.mark.parametrize("kind", [Counter, OrderedDict])
def test_dicts_of_the_standard_library_are_read_as_dicts(kind: type, written: Written) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(kind(RELEASED), protocol)
        assert pickled_rows(data, "x") == list(RELEASED.items())
    assert imported(written(data)) == imported(written(pickle.dumps(RELEASED)))
    for held in (kind({"a": 1, None: 2}), kind()):
        assert pickled_rows(pickle.dumps(held), "x") == list(held.items())


COUNTER = b"ccollections\nCounter\n"


@pytest.mark.parametrize(
    "data",
    [
        COUNTER + COUNTER + b"(tR.",  # named twice
        b"\x80\x02" + COUNTER + b"q\x00}\x85R" + b"h\x00)R." * 2,  # called twice
        b"\x80\x02}" + COUNTER + b")\x81.",  # made without a call
        b"\x80\x02" + COUNTER + b"}b.",  # its state is set
        b"\x80\x02" + COUNTER + b"U\x01aU\x01bs.",  # an item of the class itself
        b"\x80\x02" + COUNTER + b"U\x02ab\x85R.",  # of a text
        b"\x80\x02" + COUNTER + b".",
        b"\x80\x02" + COUNTER + b"(U\x01aoR.",
        b"ccollections\nCounter.fromkeys\n(tR.",
        b"\x80\x04\x8c\x0bcollections\x8c\x04abcdq\x000\x8c\x07Counterh\x00\x93.",  # other names on the stack
        b"\x80\x04\x8c\x05posixq\x00\x8c\x06systemq\x01\x8c\x0bcollections0\x8c\x07Counter0\x93.",
        b"\x80\x04\x8c\x05posixq\x00\x8c\x06systemq\x01\x8c\x0bcollections\x8c\x07Counterh\x00h\x01\x93.",
    ],
)
def test_what_else_such_a_name_could_do_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        pickled_rows(data, "x")


@pytest.mark.parametrize(
    "held",
    [defaultdict(int, RELEASED), {"n2084071": numpy.int64(3)}, state_of(vocabulary=RELEASED)],
    ids=["defaultdict", "numpy", "object"],
)
def test_even_what_is_harmless_is_not_called(held: object, written: Written) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(DataError, match="asks for code to be run") as refused:
            imported(written(pickle.dumps(held, protocol)))
        assert "give a pickled dict" in refused.value.hint


def test_extension_codes_and_persistent_names(written: Written) -> None:
    copyreg.add_extension("posix", "system", 200)
    try:
        for data in (b"\x80\x02\x82\xc8.", b"\x80\x02\x83\xc8\x00.", b"\x80\x02\x84\xc8\x00\x00\x00."):
            assert pickle.loads(data) is os.system
            with pytest.raises(DataError, match="asks for code to be run"):
                imported(written(data))
    finally:
        copyreg.remove_extension("posix", "system", 200)
    for data in (b"Pname\n.", b"\x80\x02K\x01Q."):
        with pytest.raises(DataError, match="asks for code to be run"):
            imported(written(data))


MEBIBYTE = 2**20
BOMBS = {
    "nested lists": b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
    "nested dicts": b"\x80\x02" + b"}" * 10**6 + b".",
    "nested marks": b"(" * (15 * MEBIBYTE),
    "tuples of themselves": b"\x80\x02]" + b"\x86q\x00h\x00h\x00" * 1000 + b".",
    "a long of 15 MiB": b"\x80\x02}K\x01\x8b"
    + (15 * MEBIBYTE).to_bytes(4, "little")
    + b"\x7f" * 15 * MEBIBYTE,
    "a decimal of 1 MiB": b"(dI" + b"9" * MEBIBYTE + b"\n.",
    "a text of 15 MiB": b"\x80\x02}X"
    + (15 * MEBIBYTE).to_bytes(4, "little")
    + b"a" * 15 * MEBIBYTE
    + b"K\x01s.",
    "a text of 2^63": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "a frame of 2^62": b"\x80\x04\x95" + b"\x00" * 7 + b"\x40}.",
    "a memo of 2^31": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a memo of 2^60": b"(dp1152921504606846976\n.",
    "ten million numbers": b"\x80\x02}(" + b"K\x01" * (5 * MEBIBYTE) + b"u.",
    "copies": b"\x80\x02}(" + b"K\x01" + b"2" * (10 * MEBIBYTE) + b"u.",
    "too large": b"\x80\x02}." + b" " * 16 * MEBIBYTE,
    "far too large": b"\x80\x02}." + b" " * 64 * MEBIBYTE,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_little_time_and_room(name: str, written: Written) -> None:
    path = written(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as refused:
            imported(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(BOMBS[name]) + 100 * MEBIBYTE
    assert len(refused.value.message) < 500


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    for head in (b"", b"\x80\x02", b"\x80\x04}(", b"\x80\x02}(X\x01\x00\x00\x00a"):
        with suppress(DataError):
            assert isinstance(pickled_rows(head + data + b".", "x"), list)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"n2084071": 3, "n1": 2}, r"row 2 \(class id 1\): n00000001 is not a noun of WordNet"),
        ({"n2084071": 3, "n02084071": 2}, r"row 2 .*: n02084071 stands in an earlier row too"),
        ({"n2084071": 3, 5: 2}, "row 2 .*: its key is not text but int"),
        ({"n2084071": 3, None: 2}, "row 2 .*: its key is not text but NoneType"),
        ({"dog": 3}, r"row 1 .*: its key 'dog' is not a noun's offset"),
        ({"n٣": 3}, "row 1 .* is not a noun's offset"),
        ({"n2084071": True}, "row 1 .*: its count is not a whole number but bool"),
        ({"n2084071": 1.0}, "row 1 .*: its count is not a whole number but float"),
        ({"n2084071": -1}, "row 1 .*: its count is -1"),
        ({"n2084071": 2, "n2121620": 3}, "row 2 .*: its count 3 is more than 2 of the row before"),
        ({"n2084071": 2**63}, "LONG"),
        ({}, "no rows"),
        ([1], "not one dict of texts and numbers"),
        ({"a": {"b": 1}}, "not one dict of texts and numbers"),
        ({"a": b"b"}, "SHORT_BINBYTES"),
        ("n2084071", "holds no dict"),
    ],
)
def test_rows_that_are_none_are_named(held: object, message: str, written: Written) -> None:
    with pytest.raises(DataError, match=message) as refused:
        imported(written(pickle.dumps(held)))
    assert "vocab.pkl" in refused.value.message


def test_files_that_are_none(tmp_path: Path, written: Written) -> None:
    whole = pickle.dumps(RELEASED)
    for data in (whole[:-10], b"", b"\x80\x06}.", b"hello", b"n2084071\t\n", b"\x80\x02}\x80\x02}."):
        with pytest.raises(DataError):
            imported(written(data))
    with pytest.raises(DataError, match="cannot read"):
        imported(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="not UTF-8"):
        imported(written(b"n2084071\t3\td\xe9g\n"))


keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), min_size=1, max_size=20)


@given(st.dictionaries(keys, st.integers(0, 2**63 - 1), min_size=1))
def test_listed_text_is_read_as_it_was(counts: dict[str, int]) -> None:
    rows = sorted(counts.items(), key=lambda row: -row[1])
    made = Vocabulary(
        tuple(key for key, _ in rows), tuple(n for _, n in rows), "e", "1", "s", 5, 1, "captions", 0
    )
    text = listing(made)
    assert [line.split("\t") for line in text.split("\n")[:-1]] == [[key, str(n), key] for key, n in rows]
    assert listed_rows(text, "x") == rows
    assert listed_rows(text.removesuffix("\n").replace("\n", "\r\n"), "x") == rows


def test_an_export_is_imported_with_its_class_ids(tmp_path: Path, written: Written) -> None:
    tied = {"n2121620": 7, "n2084071": 7, "n928077": 7}
    found = imported(written(pickle.dumps(tied)))
    (tmp_path / "vocab.txt").write_text(listing(found), encoding="utf-8")
    assert listing(found).splitlines()[1:] == ["n02084071\t7\tdog", "n00928077\t7\tdesign"]
    assert imported(tmp_path / "vocab.txt") == replace(found, source="vocab.txt")
    assert (
        imported(written(b"\xef\xbb\xbf" + listing(found).encode())).keys == found.keys
    )  # as Notepad saves it
    subwords = written(b"49406\t7\n320\t5\n")
    made = imported(subwords, extractor="subword", counted="captions")
    assert (made.keys, made.counts, made.counted) == (("49406", "320"), (7, 5), "captions")


@pytest.mark.parametrize(
    "line", ["n2084071", "n2084071 3", "n2084071\t-3", "n2084071\t٣", "\t3", "", "a\t1.5"]
)
def test_lines_that_are_none_are_named(line: str) -> None:
    with pytest.raises(DataError, match=r"mine\.txt, line 2: not KEY<TAB>COUNT"):
        listed_rows(f"n2084071\t3\tdog\n{line}\nn2121620\t1\n", "mine.txt")


def test_a_key_that_no_line_can_hold() -> None:
    made = Vocabulary(("a\tb",), (1,), "e", "1", "s", 5, 1, "captions", 0)
    with pytest.raises(DataError, match="holds a tab"):
        listing(made)


def test_all_nouns_of_wordnet_cut_to_the_released_size(written: Written) -> None:
    from catlipctl.labels import wordnet

    whole = {f"n{int(key[1:])}": 10**6 - i for i, key in enumerate(wordnet.nouns().keys)}
    path = written(pickle.dumps(whole))
    found = imported(path, max_size=24_320)
    assert list(found.keys) == wordnet.nouns().keys[:24_320]
