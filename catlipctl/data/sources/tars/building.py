"""One pass over the headers of a webdataset shard, to its index."""

from array import array

import numpy as np
from numpy.typing import NDArray

from catlipctl.data.sources.faults import MAX_CAPTION_BYTES, MAX_IMAGE_BYTES
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tars.index import (
    AFTER,
    BEFORE,
    EMPTY,
    ENTRY,
    FIRST,
    IMAGE_EXTENSIONS,
    LARGEST,
    LONG,
    LONGER,
    LONGEST,
    MAX_JSON_BYTES,
    NOT_TEXT,
    NUMBER,
    PIECE,
    SCATTERED,
    SECTION,
    TEXT,
    Signature,
    TarIndex,
)
from catlipctl.data.sources.tars.members import BLOCK, Damage, Member, end_of, members, split_name


class _Members:
    """What one pass finds: for each sample which members it has, and for each member a row.

    rows: its sample, the bytes at which it starts and ends, and its size, one row after the other.
    The lists of members are a tree, and a sample's is a node of it: most samples share a few.
    """

    def __init__(self) -> None:
        self.rows, self.node_of = array("q"), array("q")
        self._nodes: list[tuple[int, str, int, int]] = [(0, "", 0, 0)]
        self._below: dict[tuple[int, str, int, int], int] = {}
        self._latest: dict[bytes, int] = {}
        self._seen: set[tuple[int, str]] = set()

    def add(self, key: bytes, extension: str, state: int, member: Member) -> None:
        """A member; one whose extension its key already has starts a new sample."""
        sample = self._latest.get(key, -1)
        if sample < 0 or (sample, extension) in self._seen:
            sample = self._latest[key] = len(self.node_of)
            self.node_of.append(0)
        self._seen.add((sample, extension))
        lead = (member.data - member.start) // BLOCK if member.stated else 0
        node = (self.node_of[sample], extension, state, lead)
        number = self._below.get(node, 0)
        if not number:
            number = self._below[node] = len(self._nodes)
            self._nodes.append(node)
        self.node_of[sample] = number
        self.rows.extend((sample, member.start, end_of(member.data, member.size), member.size))

    def signature(self, node: int, largest: int, adjoining: bool) -> Signature:
        """What a node of the tree stands for."""
        path = []
        while node:
            path.append(self._nodes[node])
            node = path[-1][0]
        leads = tuple(lead for *_, lead in reversed(path))
        kinds = tuple((extension, state) for _, extension, state, _ in reversed(path))
        return Signature(kinds, largest, leads if adjoining and all(leads) else ())


def build(file: File) -> TarIndex:
    """Read a shard's headers and group its members to samples, as webdataset does: by key.

    Members of a key need not stand side by side; one whose extension the key already has starts a new sample.
    """
    found = _Members()
    damage: dict[int, tuple[str, int]] = {}
    with file.open() as stream:
        try:
            for member in members(stream, file.size):
                parts = split_name(member.name)
                if parts is None:
                    continue
                extension = parts[1].decode(errors="replace").lower()
                looked_at = extension not in IMAGE_EXTENSIONS and member.size <= MAX_CAPTION_BYTES
                state = _state(member.size, stream.read(member.size) if looked_at else b"")
                found.add(parts[0], extension, state, member)
        except Damage as error:
            damage[0] = (error.kind, error.offset)
    return _packed(found, damage)


def _state(size: int, text: bytes) -> int:
    """The state of a member; text: its bytes, where they should be UTF-8."""
    if size > MAX_CAPTION_BYTES:
        return LONG if size <= MAX_JSON_BYTES else LONGER if size <= MAX_IMAGE_BYTES else LONGEST
    try:
        text.decode()
    except UnicodeDecodeError:
        return NOT_TEXT
    return TEXT if size else EMPTY


def _packed(found: _Members, damage: dict[int, tuple[str, int]]) -> TarIndex:
    """The index of one shard. Members are sorted by sample; of each sample the first is at `first`."""
    samples = len(found.node_of)
    columns = np.array(found.rows, np.int64).reshape(-1, 4).T
    order = np.argsort(columns[0], kind="stable")
    sample, start, end, size = columns[:, order]
    count = np.bincount(sample, minlength=samples)
    first = np.cumsum(count) - count
    rows = np.arange(len(sample))
    if not samples:
        none = np.zeros(0, np.int64)
        shards, census = np.zeros((1, 3), np.int64), np.zeros((0, 4), np.int64)
        return TarIndex(np.zeros(0, ENTRY), none.astype(np.uint64), shards, none, census, (), damage)
    is_largest = size == np.maximum.reduceat(size, first)[sample]
    largest = np.minimum.reduceat(np.where(is_largest, rows, len(rows)), first)
    last = first + count - 1
    side_by_side = order[last] - order[first] + 1 == count
    follows = np.ones(len(rows), np.bool_)
    follows[1:] = (start[1:] == end[:-1]) | (sample[1:] != sample[:-1])
    adjoining = side_by_side & np.logical_and.reduceat(follows, first)

    kinds = np.stack([np.array(found.node_of, np.int64), largest - first, adjoining], 1)
    distinct, signature = np.unique(kinds, axis=0, return_inverse=True)
    signatures = [found.signature(node, at, bool(flag)) for node, at, flag in distinct.tolist()]
    late = np.array([any(_is_cut(*member) for member in one.members) for one in signatures])
    signature = signature.reshape(-1)

    before, own = (start[largest] - start[first]) // BLOCK, (end[largest] - start[largest]) // BLOCK
    after, place = (end[last] - end[largest]) // BLOCK, start[first] // BLOCK
    run = side_by_side & ~late[signature] & (place < FIRST)
    run &= (before < BEFORE) & (own < LARGEST) & (after < AFTER) & (signature < SCATTERED)
    entries = np.zeros(samples, ENTRY)
    entries["place"] = np.where(run, (place * LARGEST + own) * BEFORE + before, 0)
    entries["rest"] = np.where(run, after * NUMBER + signature, SCATTERED)
    pieces: list[int] = []
    for row in np.flatnonzero(~run).tolist():
        entries["place"][row] = len(pieces) * LARGEST * BEFORE
        pieces.append(int(signature[row]))
        for at in range(first[row], first[row] + count[row]):
            blocks = min(int(end[at] - start[at]) // BLOCK, PIECE - 1)
            pieces.append(int(start[at]) // BLOCK * PIECE + blocks)
    return TarIndex(
        entries=entries,
        pieces=np.array(pieces, np.uint64),
        shards=np.array([[samples, len(pieces), len(signatures)]], np.int64),
        local=np.arange(len(signatures)),
        census=_census(signature),
        signatures=tuple(signatures),
        damage=damage,
    )


def _is_cut(extension: str, state: int) -> bool:
    """Whether only its beginning is ever read, if it is: it must be found without the members before it."""
    return state >= LONGER and extension not in IMAGE_EXTENSIONS


def _census(signature: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many samples of each section have each signature, and the first: `[C, 4]`."""
    pairs = np.stack([np.arange(len(signature)) // SECTION, signature], 1)
    found, first, count = np.unique(pairs, axis=0, return_index=True, return_counts=True)
    return np.concatenate([found, count[:, None], first[:, None]], 1)
