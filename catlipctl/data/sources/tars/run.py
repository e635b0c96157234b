"""A sample of a tar in the bytes of its run: where it is, what of it is read, and the members found in it."""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, NamedTuple

from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tars.columns import Cell
from catlipctl.data.sources.tars.index import Signature
from catlipctl.data.sources.tars.members import (
    BLOCK,
    Damage,
    end_of,
    members,
    split_name,
    stated_name,
    stated_size,
)

BYTES_AT_ONCE = 32 * 2**20
_HEADERS = 4 * 2**20
"""More than stands before a member's data."""


class Plan(NamedTuple):
    """What is read of the samples of a signature.

    signature: theirs. wanted: numbers of members, ascending, and how many bytes of each are used at most.
    parts: of the three parts of a run (before the largest member, it, after it) the ranges to read.
    """

    signature: Signature
    wanted: dict[int, int]
    parts: tuple[tuple[int, int], ...]

    @property
    def first_members(self) -> list[int]:
        """The number of the member with which each range of parts begins."""
        largest = self.signature.largest
        return [(0, largest, largest + 1)[part] for part, _ in self.parts]

    @classmethod
    def of(cls, signature: Signature, image: Cell | None = None, texts: Sequence[Cell] = ()) -> "Plan":
        """To read an image, all of it, and texts as far as they are used."""
        used = {cell.member: cell.key.max_bytes + 1 for cell in texts if cell.key}
        used |= {image.member: sys.maxsize} if image and image.has else {}
        parts: list[tuple[int, int]] = []
        for member in sorted(used):
            part = (member >= signature.largest) + (member > signature.largest)
            if parts and parts[-1][1] >= part:
                parts[-1] = (parts[-1][0], part + 1)
            else:
                parts.append((part, part + 1))
        return cls(signature, dict(sorted(used.items())), tuple(parts))


class Place(NamedTuple):
    """Where a sample is. bounds: the bytes at which the parts of its run begin and end.

    pieces: where each member begins and ends instead, if they do not stand side by side.
    """

    file: File
    signature: int
    bounds: tuple[int, ...]
    pieces: tuple[tuple[int, int], ...] = ()

    def ranges(self, plan: Plan) -> tuple[list[int], list[int]]:
        """Offsets and sizes of what is to be read for a plan."""
        if self.pieces:
            spans = [self.pieces[member] for member in plan.wanted]
            sizes = [
                min(end - start, used + _HEADERS)
                for (start, end), used in zip(spans, plan.wanted.values(), strict=True)
            ]
            return [start for start, _ in spans], sizes
        bounds = self.bounds
        return [bounds[p] for p, _ in plan.parts], [bounds[q] - bounds[p] for p, q in plan.parts]

    def members(self, plan: Plan, bodies: Sequence[bytes]) -> dict[int, bytes]:
        """The wanted members by number in what was read; one is missing where a shard has become shorter."""
        if plan.signature.leads and not self.pieces:
            return by_size(plan, bodies)
        return _by_name(plan, bodies)

    def key(self, plan: Plan, bodies: Sequence[bytes]) -> bytes | None:
        """The key of the sample, in what was read; None where a shard has become shorter."""
        if not bodies:
            return None
        if plan.signature.leads and not self.pieces:
            header = (plan.signature.leads[plan.first_members[0]] - 1) * BLOCK
            split = split_name(stated_name(bodies[0], header)) if len(bodies[0]) >= header + BLOCK else None
        else:
            split = first_name(io.BytesIO(bodies[0]), sys.maxsize)
        return split[0] if split else None


def first_name(stream: BinaryIO, size: int, start: int = 0) -> tuple[bytes, bytes] | None:
    """Key and extension of the first member of a sample, from the header at byte `start` on, if any."""
    try:
        names = (split_name(member.name) for member in members(stream, size, start))
        return next((split for split in names if split is not None), None)
    except Damage:
        return None


def read_all(places: Iterable[Place], plans: Sequence[Plan]) -> Iterator[dict[int, bytes]]:
    """Members of samples of one shard, which are read in few calls; plans: what to read, by signature.

    Raises:
        ReadFailed: the shard cannot be read.
    """
    left = iter(places)
    while True:
        group: list[tuple[Place, Plan, int]] = []
        offsets: list[int] = []
        sizes: list[int] = []
        waiting = 0
        for place in left:
            plan = plans[place.signature]
            starts, lengths = place.ranges(plan)
            offsets += starts
            sizes += lengths
            group.append((place, plan, len(starts)))
            waiting += sum(lengths)
            if waiting > BYTES_AT_ONCE:
                break
        if not group:
            return
        bodies = iter(group[0][0].file.read_many(offsets, sizes) if offsets else ())
        for place, plan, count in group:
            yield place.members(plan, list(islice(bodies, count)))


def by_size(plan: Plan, bodies: Sequence[bytes]) -> dict[int, bytes]:
    """Members found by the sizes in their headers, each of which stands where the one before ends."""
    leads, last = plan.signature.leads, max(plan.wanted, default=-1)
    found: dict[int, bytes] = {}
    for body, member in zip(bodies, plan.first_members, strict=True):
        at, length = 0, len(body)
        while at < length and member <= last:
            data = at + leads[member] * BLOCK
            size = stated_size(body, data - BLOCK)
            if size < 0 or data + size > length:
                break
            if member in plan.wanted:
                found[member] = body[data : data + size]
            at, member = end_of(data, size), member + 1
    return found


def _by_name(plan: Plan, bodies: Sequence[bytes]) -> dict[int, bytes]:
    """Members found by their names."""
    numbers = {extension: number for number, (extension, _) in enumerate(plan.signature.members)}
    key: bytes | None = None
    found: dict[int, bytes] = {}
    for body in bodies:
        try:
            for member in members(io.BytesIO(body), sys.maxsize):
                split = split_name(member.name)
                if split is None or (key is not None and split[0] != key):
                    continue
                key = split[0]
                number = numbers.get(split[1].decode(errors="replace").lower(), -1)
                if number in plan.wanted:
                    used = member.data + min(member.size, plan.wanted[number])
                    if used <= len(body):
                        found[number] = body[member.data : used]
                if len(found) == len(plan.wanted):
                    break
        except Damage:
            continue
    return found
