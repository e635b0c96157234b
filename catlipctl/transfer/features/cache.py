"""Features that were extracted before: parts of a set, on disk or in memory.

A set is all that one tower makes of one source. Its folder is named by a hash of everything that decides a
feature: weights and architecture, all of the data, the transform, the precision, the libraries' versions. So
what changes is another set, and nothing has to be invalidated. Each part has some samples, in any order: a
subset, an interrupted extraction and several processes all leave parts that later ones go on from.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import __version__ as pillow_version
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from catlipctl.data import Source
from catlipctl.data.content import content_hash
from catlipctl.files import replacing
from catlipctl.models import Tower
from catlipctl.progress import SILENT, Progress
from catlipctl.results import library_versions
from catlipctl.settings.data import Decode

FOLDER = "features"
"""Of the cache folder."""
FORMAT = "1"
DIGITS = 32
UNSAID = {"training", "num_classes"}
"""What modules say of themselves and does not change features: a head's size among it."""


@dataclass(frozen=True)
class Part:
    """samples: `[N]`, int64, the source's indices. values: `[N, D]` or `[N, T, D]`. keys: of these samples.

    unreadable: `[M]`, int64, samples whose image cannot be read.
    """

    samples: Tensor
    values: Tensor
    keys: list[str]
    unreadable: Tensor


class Store(Protocol):
    """Where the parts of a set are kept."""

    def known(self) -> Tensor:
        """`[N]`, int64: the samples of all parts, readable or not."""
        ...

    def add(self, part: Part) -> None:
        """Keep a part."""
        ...

    def parts(self) -> Iterator[Part]:
        """All parts."""
        ...


@dataclass
class InMemory:
    """Parts that are gone with the process."""

    kept: list[Part] = field(default_factory=list)

    def known(self) -> Tensor:
        """No sample is known before it is extracted."""
        return torch.empty(0, dtype=torch.int64)

    def add(self, part: Part) -> None:
        """Keep a part."""
        self.kept.append(part)

    def parts(self) -> Iterator[Part]:
        """All parts."""
        return iter(self.kept)


@dataclass
class OnDisk:
    """A folder of safetensors files, one a part; `identity` stands in each of them.

    One that is cut short, or that is no part of this set, is taken away: its samples are extracted again.
    """

    folder: Path
    identity: str
    progress: Progress = SILENT

    def known(self) -> Tensor:
        """The samples of all whole parts, readable or not."""
        found = [torch.empty(0, dtype=torch.int64)]
        for path in self._files():
            try:
                with self._opened(path) as file:
                    found += [file.get_tensor("samples"), file.get_tensor("unreadable")]
            except (OSError, SafetensorError, ValueError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                self.progress.note(f"{path} is no whole part of these features, and is made again: {reason}")
                path.unlink(missing_ok=True)
        return torch.cat(found)

    def add(self, part: Part) -> None:
        """Write a part; it appears whole or not at all."""
        tensors = {
            "samples": part.samples,
            "values": part.values,
            "keys": torch.frombuffer(bytearray(json.dumps(part.keys).encode()), dtype=torch.uint8),
            "unreadable": part.unreadable,
        }
        members = torch.cat([part.samples, part.unreadable])
        name = hashlib.sha256(members.numpy().tobytes()).hexdigest()[:16]
        with replacing(self.folder / f"{int(members.min()):09d}-{name}.safetensors") as temporary:
            save_file(tensors, temporary, {"features": self.identity})

    def parts(self) -> Iterator[Part]:
        """All parts, one at a time in memory."""
        for path in self._files():
            with self._opened(path) as file:
                keys = json.loads(file.get_tensor("keys").numpy().tobytes())
                named = {name: file.get_tensor(name) for name in ("samples", "values", "unreadable")}
                yield Part(keys=keys, **named)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.safetensors") if not path.name.startswith("."))

    def _opened(self, path: Path) -> Any:
        """The file, opened: of its tensors only what is asked for is read. ValueError where it is no part."""
        file = safe_open(path, "pt")
        if (file.metadata() or {}).get("features") != self.identity:
            raise ValueError("it belongs to other features")
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        rows = shapes.get("samples")
        if shapes.keys() != {"samples", "values", "keys", "unreadable"} or rows != shapes["values"][:1]:
            raise ValueError("its tensors are others")
        return file


def identity(
    tower: Tower, source: Source, *, precision: torch.dtype = torch.float32, decode: Decode = "fast"
) -> str:
    """A hash of all that decides the features which `tower` makes of `source`.

    The head is left out: features are what it is given, so a tower and its fitted copies share them. The data
    count by path, size and time of writing (`Source.fingerprint`), and by what some of the samples hold.
    """
    found = hashlib.sha256()
    made_with = {**library_versions(), "pillow": pillow_version}
    said: list[object] = [
        FORMAT,
        source.fingerprint,
        content_hash(source),
        tower.name,
        tower.preprocessing,
        precision,
        decode,
        [(name, made_with.get(name)) for name in ("catlipctl", "torch", "timm", "pillow")],
    ]
    head = set(tower.head.modules())
    for name, module in tower.module.named_modules():
        if module not in head:
            said_of = sorted(vars(module).items())
            plain = [(key, value) for key, value in said_of if key not in UNSAID and _is_plain(value)]
            said.append((name, type(module).__qualname__, plain))
    found.update(repr(said).encode())
    learned = {id(value) for value in (*tower.head.parameters(), *tower.head.buffers())}
    for name, value in tower.module.state_dict(keep_vars=True).items():
        if id(value) not in learned:
            raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found.update(repr((name, value.dtype, tuple(value.shape))).encode())
            found.update(raw.numpy())
    return found.hexdigest()[:DIGITS]


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str)
