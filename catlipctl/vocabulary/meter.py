"""How far the counting of shards is, in captions, of which nobody knows the number before the end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from catlipctl.progress import Task

if TYPE_CHECKING:
    from catlipctl.data.caption_shards import CaptionShard


class Meter:
    """Progress in captions, whose total is guessed from the bytes of the shards that are finished."""

    def __init__(self, task: Task, shards: "Sequence[CaptionShard]") -> None:
        self._task, self._shards = task, len(shards)
        self._bytes = sum(shard.size for shard in shards)
        self._finished = self._finished_bytes = self._captions = 0
        self._ticked = self._shown = 0

    def tick(self, captions: int) -> None:
        """So many captions more were counted."""
        self._ticked += captions
        self._show()

    def finish(self, shard: "CaptionShard", captions: int) -> None:
        """A shard is finished."""
        self._finished += 1
        self._finished_bytes += shard.size
        self._captions += captions
        self._show()
        if self._finished == self._shards:
            self._task.expect(self._shown)
        elif self._finished_bytes:
            self._task.expect(max(self._captions * self._bytes // self._finished_bytes, self._shown + 1))

    def _show(self) -> None:
        # An engine that cannot tick is known by the shards that it has finished.
        done = max(self._ticked, self._captions)
        self._task.advance(done - self._shown, shards=f"{self._finished:,}/{self._shards:,}")
        self._shown = done
