"""What stands in a text that names files: braces, globs and weights, as shells and webdataset writes them."""

import glob
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from catlipctl.data.sources.storage import is_url, remote_glob
from catlipctl.errors import UsageError

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?$")
_WEIGHT = re.compile(r"(?P<spec>.+)=(?P<weight>\d+(?:\.\d*)?|\.\d+)$", re.DOTALL)
MAX_FILES = 1_000_000


def split_weight(spec: str) -> tuple[str, float]:
    """SOURCE without its `=WEIGHT`, and the weight (1 where none is given).

    A path that exists as it stands (`split=1/`) has no weight, nor has a URL with a query (`a.tar?v=3`).

    Raises:
        UsageError: the weight is zero.
    """
    found = _WEIGHT.match(spec)
    if found is None or Path(spec).exists() or ("://" in spec and "?" in spec):
        return spec, 1.0
    weight = float(found["weight"])
    if weight == 0:
        raise UsageError(
            f"the weight of {found['spec']} is 0", "give a weight above 0, or leave the source out"
        )
    return found["spec"], weight


def expand(pattern: str) -> list[str]:
    """The paths that a glob or brace pattern stands for: braces in their order, globs sorted.

    A path without a glob is given back whether it exists or not.
    """
    found: list[str] = []
    for path in [pattern] if not is_url(pattern) and os.path.exists(pattern) else expand_braces(pattern):
        if is_url(path):
            found += remote_glob(path) if any(mark in path for mark in "*[") else [path]
        elif glob.has_magic(path) and not os.path.exists(path):
            found += sorted(glob.glob(os.path.expanduser(path), recursive=True))
        else:
            found.append(os.path.expanduser(path))
    return found


def expand_braces(pattern: str) -> list[str]:
    """The texts that a shell's brace pattern stands for, in its order.

    `{000000..000012}` (with zero padding and an optional step), `{a,b}`, several in a row and nested ones;
    braces that are neither stay as they are.

    Raises:
        UsageError: more than a million texts.
    """
    texts = []
    for text in _expand(pattern):
        texts.append(text)
        if len(texts) > MAX_FILES:
            raise UsageError(f"{pattern} stands for more than {MAX_FILES:,} files", "split the pattern")
    return texts


def _expand(pattern: str) -> Iterator[str]:
    for start in (at for at, character in enumerate(pattern) if character == "{"):
        choices = _choices(pattern, start)
        if choices is not None:
            alternatives, stop = choices
            for alternative in alternatives:
                for tail in _expand(pattern[stop:]):
                    yield pattern[:start] + alternative + tail
            return
    yield pattern


def _choices(pattern: str, start: int) -> tuple[Iterator[str], int] | None:
    """What the brace that opens at `start` offers, and where it ends; None where it is no brace pattern."""
    depth, commas = 0, [start]
    for at in range(start, len(pattern)):
        if pattern[at] == "{":
            depth += 1
        elif pattern[at] == "," and depth == 1:
            commas.append(at)
        elif pattern[at] == "}":
            depth -= 1
            if depth == 0:
                break
    else:
        return None
    if len(commas) > 1:
        cuts = [*commas, at]
        pieces = [pattern[a + 1 : b] for a, b in pairwise(cuts)]
        return (text for piece in pieces for text in _expand(piece)), at + 1
    bounds = _RANGE.match(pattern[start + 1 : at])
    return (_numbers(*bounds.groups()), at + 1) if bounds else None


def _numbers(first: str, last: str, step: str | None) -> Iterator[str]:
    padded = any(text.lstrip("-").startswith("0") and len(text.lstrip("-")) > 1 for text in (first, last))
    width = max(len(first), len(last)) if padded else 0
    low, high, stride = int(first), int(last), abs(int(step or 1)) or 1
    numbers = range(low, high + 1, stride) if low <= high else range(low, high - 1, -stride)
    return (f"{number:0{width}d}" for number in numbers)
