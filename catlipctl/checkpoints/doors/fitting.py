"""A foreign file's tensors put into a tower: strictly, with every key of the file accounted for."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from catlipctl import models
from catlipctl.checkpoints.tensors import SAFETENSORS, check_tensors, read_tensors, read_torch
from catlipctl.errors import CheckpointError, UsageError
from catlipctl.models import TimmTower
from catlipctl.settings.models import ModelSettings

SHOWN = 5
"""Keys that are named of each kind of fault."""
_INSIDE, _WRAPPED = "state_dict", "module."
_BESIDE = {"epoch", "name", "optimizer", "step", "scaler"}
"""What open_clip's training keeps beside the state dict."""


class Place(NamedTuple):
    """Where a parameter of a tower lies in a file, and in which shape, of as many numbers as the tower's."""

    key: str
    shape: tuple[int, ...]


Places = Mapping[str, Place]
"""By the tower's own names, timm's."""
Ignored = Mapping[str, str]
"""Keys that are left out: a pattern of the whole key, and why."""


class Fitted(NamedTuple):
    """Tensors by the tower's names; and what became of the file's keys, for people."""

    tensors: dict[str, Tensor]
    account: dict[str, Any]


def read_file(name: str) -> dict[str, Any]:
    """The tensors of a file by their names, taken out of what a training wrapped them in.

    Raises CheckpointError where there is none, or where it can't be read; no code of it is run.
    """
    path = Path(name)
    if not path.is_file():
        raise CheckpointError(f"no file at {name or '(an empty name)'}", "name the file of the weights")
    read = read_tensors if path.suffix == SAFETENSORS else read_torch
    found: dict[str, Any] = dict(read(path))
    if isinstance(found.get(_INSIDE), dict):
        _complain(name, {"unknown": sorted(map(str, found.keys() - _BESIDE - {_INSIDE}))})
        found = found[_INSIDE]
    if found and all(str(key).startswith(_WRAPPED) for key in found):  # by torch's DistributedDataParallel
        found = {key.removeprefix(_WRAPPED): value for key, value in found.items()}
    check_tensors({key: value for key, value in found.items() if isinstance(value, Tensor)}, path)
    return found


def shapes_of(found: Mapping[str, Any], prefix: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors whose names begin so, by what follows."""
    return {
        key.removeprefix(prefix): tuple(value.shape)
        for key, value in found.items()
        if isinstance(value, Tensor) and key.startswith(prefix)
    }


def places_of(module: nn.Module, names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> Places:
    """Where a tower's parameters lie in a file.

    names: patterns of the tower's names and what stands for them in the file, applied one after the other.
    shapes: of those parameters, by the tower's names, that have another shape in the file.
    """
    places = {}
    for own, value in module.state_dict().items():
        key = own
        for pattern, there in names.items():
            key = re.sub(pattern, there, key)
        places[own] = Place(key, shapes.get(own, tuple(value.shape)))
    return places


def fit(name: str, found: Mapping[str, Any], places: Places, ignored: Ignored) -> Fitted:
    """The tensors of the file `name`, each in its place.

    Raises CheckpointError that names the keys which are missing, unknown, or of another shape.
    """
    expected = {place.key: place for place in places.values()}
    reasons = {key: _reason(str(key), ignored) for key in found if key not in expected}
    wrong = {key: _shape(found[key]) for key in expected if key in found}
    _complain(
        name,
        {
            "missing": [key for key in expected if key not in found],
            "unknown": [str(key) for key, reason in reasons.items() if not reason],
            "of another shape": [
                f"{key} is {shape}, not {list(expected[key].shape)}"
                for key, shape in wrong.items()
                if shape != str(list(expected[key].shape))
            ],
        },
    )
    counts = Counter(reasons.values())
    return Fitted(
        {own: found[place.key] for own, place in places.items()},
        {"keys": len(expected), "ignored": [f"{why} ({count})" for why, count in counts.items()]},
    )


def sizes(shapes: Mapping[str, tuple[int, ...]], pattern: str, axis: int) -> list[int]:
    """The sizes along an axis of the tensors whose names are of a pattern."""
    fitting = [shape for key, shape in shapes.items() if re.fullmatch(pattern, key)]
    return [shape[axis] for shape in fitting if len(shape) > axis]


def most(votes: Sequence[int]) -> int:
    """What occurs most often, so that one wrong tensor does not decide; 0 of none."""
    return Counter(votes).most_common(1)[0][0] if votes else 0


def blocks(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """How many numbers, the group of the pattern, more than one tensor begins with."""
    numbers = Counter(match[1] for key in shapes if (match := re.match(pattern, key)))
    return sum(tensors > 1 for tensors in numbers.values())


def made(name: str, settings: ModelSettings, classes: int) -> TimmTower:
    """A tower for what the file `name` holds; CheckpointError where timm can't make it."""
    try:
        return models.create(settings, classes)
    except UsageError as error:
        raise CheckpointError(f"{name} holds a tower that cannot be made: {error.message}") from error


def fill(tower: TimmTower, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors, float32 from then on, into the tower, which has parameters of these names."""
    shapes = {own: value.shape for own, value in tower.module.state_dict().items()}
    tower.module.load_state_dict({own: value.reshape(shapes[own]) for own, value in tensors.items()})


def _reason(key: str, ignored: Ignored) -> str:
    return next((reason for pattern, reason in ignored.items() if re.fullmatch(pattern, key)), "")


def _shape(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _complain(name: str, faults: Mapping[str, list[str]]) -> None:
    """CheckpointError that tells the faults by their kind, if there are any."""
    told = [
        f"{kind}: {', '.join(keys[:SHOWN])}" + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
        for kind, keys in faults.items()
        if keys
    ]
    if told:
        raise CheckpointError(
            f"{name} has other keys than expected; {'; '.join(told)}",
            "name the file as it was released, or as its own code saved the weights",
        )
