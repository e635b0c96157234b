"""The counts of each shard, kept in the cache folder: a stopped build goes on, and new shards are added."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from catlipctl.data.sources import faults as kinds
from catlipctl.errors import CatlipctlError
from catlipctl.files import replacing
from catlipctl.labels import Extractor
from catlipctl.vocabulary.counts import FORMAT, Counts

if TYPE_CHECKING:
    from catlipctl.data.caption_shards import CaptionShard


class Sidecars:
    """Files of packed counts, named by shard (path, size, mtime, keys, part) and extractor."""

    def __init__(self, cache: Path, extractor: Extractor) -> None:
        self.folder = cache / "counts" / f"{extractor.name}-{extractor.version}"
        self._there = {path.name for path in self.folder.glob("*")} if self.folder.is_dir() else set()
        self.failure: Exception | None = None
        """Why counts could not be kept."""

    def path(self, shard: "CaptionShard") -> Path:
        """Where the counts of a shard are kept."""
        identity = json.dumps([FORMAT, shard.identity])
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json.gz"

    def __contains__(self, shard: "CaptionShard") -> bool:
        return self.path(shard).name in self._there

    def load(self, shard: "CaptionShard") -> Counts | None:
        """The counts of a shard; None where there are none or they are damaged."""
        try:
            return Counts.unpack(self.path(shard).read_bytes())
        except (OSError, ValueError):
            return None

    def keep(self, shard: "CaptionShard", packed: bytes, counts: Counts) -> None:
        """Keep a shard's counts, unless the next reading may find more: a network or a disk may recover.

        Not synced: a power cut costs at most a recount, waiting for the disk costs more than counting.
        """
        if counts.faults[kinds.UNREADABLE] or counts.faults[kinds.DAMAGED] or self.failure:
            return
        try:
            with replacing(self.path(shard), sync=False) as temporary:
                temporary.write_bytes(packed)
        except (OSError, CatlipctlError) as error:
            self.failure = error
