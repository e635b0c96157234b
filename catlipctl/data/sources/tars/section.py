"""Texts of many samples of a tar at once, in storage order: their headers are looked at by NumPy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tars.members import BLOCK, DIGITS
from catlipctl.data.sources.tars.run import BYTES_AT_ONCE, Place, Plan, by_size, read_all

_WIDTH = DIGITS.stop - DIGITS.start
_WORTH = 8 ** np.arange(_WIDTH - 1, -1, -1)

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Section:
    """Some samples of a shard. signatures: `[N]`. bounds: `[N, 4]`, as a Place has them.

    scattered: those that are no run, by number; their bounds mean nothing.
    """

    file: File
    signatures: Numbers
    bounds: Numbers
    scattered: dict[int, Place]

    def place(self, number: int) -> Place:
        """Where a sample is."""
        bounds = tuple(self.bounds[number].tolist())
        return self.scattered.get(number) or Place(self.file, int(self.signatures[number]), bounds)

    def read(self, plans: Sequence[Plan]) -> Iterator[dict[int, bytes]]:
        """The members of each sample, one after the other; plans: by signature.

        Raises:
            ReadFailed: the shard cannot be read.
        """
        alike = np.array([len(plan.parts) == 1 and bool(plan.signature.leads) for plan in plans])
        together = alike[self.signatures]
        together[list(self.scattered)] = False
        sized = _by_size(self, np.flatnonzero(together), plans)
        if together.all():
            return sized
        others = read_all((self.place(number) for number in np.flatnonzero(~together).tolist()), plans)
        return (next(sized) if one else next(others) for one in together.tolist())


def _by_size(section: Section, rows: Numbers, plans: Sequence[Plan]) -> Iterator[dict[int, bytes]]:
    """Members of samples of which one range is read, found by the sizes in their headers."""
    parts = np.array([plan.parts[0] if plan.parts else (0, 0) for plan in plans])[section.signatures[rows]]
    offsets = section.bounds[rows, parts[:, 0]]
    sizes = section.bounds[rows, parts[:, 1]] - offsets
    cuts = 1 + np.flatnonzero(np.diff(np.cumsum(sizes) // BYTES_AT_ONCE))
    for start, stop in pairwise([0, *cuts.tolist(), len(rows)]):
        bodies = section.file.read_many(offsets[start:stop].tolist(), sizes[start:stop].tolist())
        signatures = section.signatures[rows[start:stop]]
        found: list[dict[int, bytes]] = [{}] * len(bodies)
        for signature in np.unique(signatures).tolist():
            same = np.flatnonzero(signatures == signature).tolist()
            alike = bodies if len(same) == len(bodies) else [bodies[at] for at in same]
            for at, members in zip(same, _walk(plans[signature], alike), strict=True):
                found[at] = members
        yield from found


def _walk(plan: Plan, bodies: Sequence[bytes]) -> list[dict[int, bytes]]:
    """The wanted members of samples of one signature, of each of which one range was read."""
    at = np.zeros(len(bodies), np.int64)
    length = np.array([len(body) for body in bodies])
    columns: list[list[bytes]] = []
    for member in range(plan.first_members[0], max(plan.wanted) + 1):
        data = at + plan.signature.leads[member] * BLOCK
        first = (data - BLOCK + DIGITS.start).tolist()
        stated = b"".join([body[one : one + _WIDTH] for body, one in zip(bodies, first, strict=True)])
        digits = np.frombuffer(stated, np.uint8) - ord("0")
        if len(stated) != len(bodies) * _WIDTH or (digits > 7).any():
            break
        size = digits.reshape(-1, _WIDTH) @ _WORTH
        if (data + size > length).any():
            break
        if member in plan.wanted:
            spans = zip(bodies, data.tolist(), (data + size).tolist(), strict=True)
            columns.append([body[begin:end] for body, begin, end in spans])
        at = data + -(-size // BLOCK) * BLOCK
    else:
        first_member, *others = plan.wanted
        found = [{first_member: body} for body in columns[0]]
        for member, column in zip(others, columns[1:], strict=True):
            for members, body in zip(found, column, strict=True):
                members[member] = body
        return found
    # The shard has become shorter, or is another: what is there is found one by one.
    return [by_size(plan, [body]) for body in bodies]
