"""A pickled dict, read without trust: nothing that it asks for is imported.

A pickle is a program. Before it runs, its opcodes are walked: only those that make one dict of texts and
numbers may occur, so that it cannot nest anything, and what it can allocate is bounded by its size. Whoever
counts in Python may have pickled a Counter or an OrderedDict, which is a call: these two names, once, are
allowed, and the unpickler, which finds no others, takes `dict` for both.
"""

import io
import pickle
import pickletools
from collections import Counter
from typing import Any, NoReturn

from catlipctl.errors import DataError

# All 82,115 nouns of WordNet with their counts are at most 3 MB and 330,000 opcodes.
MAX_BYTES = 16 * 2**20
MAX_OPCODES = 500_000
MAX_TEXT = 200
MAX_NUMBER = 2**63

_TEXTS = {
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}
_CONSTANTS = {"NONE", "NEWTRUE", "NEWFALSE", "FLOAT", "BINFLOAT"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_ONCE = {"EMPTY_DICT", "DICT", "GLOBAL", "STACK_GLOBAL", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "REDUCE"}
"""The dict, and what calls one of `_DICT_CLASSES`: once each, or a small pickle could make many copies."""
_PLAIN = {"PROTO", "STOP", "MARK", "SETITEM", "SETITEMS", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"}
_RUNS_CODE = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
_NAMES = {"GLOBAL", "STACK_GLOBAL"}
_DICT_CLASSES = {"collections Counter", "collections OrderedDict"}


def pickled_rows(data: bytes, name: str) -> list[tuple[Any, Any]]:
    """The items of the one dict of texts and numbers that `data` holds, in order; `name` is for messages.

    Protocols 0 to 5. Keys and values may still be of a wrong type.

    Raises:
        DataError: it holds anything else, asks for code to be run, or is too large.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"{name} has more than {MAX_BYTES / 2**20:.0f} MiB: no vocabulary is so large", _HINT)
    try:
        _check(data, name)
        found = _Unpickler(io.BytesIO(data)).load()
    except DataError:
        raise
    except Exception as error:  # whatever a damaged pickle makes of the unpickler
        raise DataError(f"{name} is not a whole pickle: {error}", _HINT) from error
    if type(found) is not dict:
        raise DataError(f"{name} holds no dict", _HINT)
    return list(found.items())


_HINT = (
    "give a pickled dict of text to whole numbers, as CatLIP's vocabulary was released, "
    "or text with a line a class: KEY<TAB>COUNT"
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[dict[Any, Any]]:
        if f"{module} {name}" in _DICT_CLASSES:
            return dict
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:  # noqa: ARG002
        raise pickle.UnpicklingError("it names a persistent object")


def _check(data: bytes, name: str) -> None:
    seen: Counter[str] = Counter()
    texts: list[str] = []
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        kind = opcode.name
        seen[kind] += 1
        if kind in _TEXTS and isinstance(argument, str):
            texts = [*texts[-1:], argument]
        named = " ".join(texts) if kind == "STACK_GLOBAL" else argument
        if kind in _RUNS_CODE or (kind in _NAMES and named not in _DICT_CLASSES) or seen["REDUCE"] > 1:
            wanted = f" {named:.80}" if isinstance(named, str) else ""
            raise DataError(f"{name} is refused: it asks for code to be run ({kind}{wanted})", _HINT)
        if number >= MAX_OPCODES:
            raise DataError(f"{name} has more than {MAX_OPCODES:,} opcodes", _HINT)
        if kind in _PLAIN or kind in _CONSTANTS or (kind in _ONCE and seen[kind] == 1):
            continue
        if not _bounded(kind, argument, number, len(data)):
            raise DataError(f"{name} is not one dict of texts and numbers: it has {kind}", _HINT)


def _bounded(kind: str, argument: Any, number: int, size: int) -> bool:
    """Whether an opcode that takes room takes little."""
    if kind in _TEXTS:
        return len(argument) <= MAX_TEXT
    if kind in _NUMBERS:
        return abs(argument) < MAX_NUMBER
    if kind in _PUTS:  # the memo is an array: a large index makes a large one
        return int(argument) <= number
    return kind == "FRAME" and argument <= size
