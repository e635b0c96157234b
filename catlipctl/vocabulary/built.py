"""What `catlipctl vocab build` ends in: the vocabulary in numbers, and how it was counted."""

from catlipctl.vocabulary.counting import Tally
from catlipctl.vocabulary.summary import Summary, summary
from catlipctl.vocabulary.vocabulary import Vocabulary


class Built(Summary):
    """A vocabulary that was counted now.

    shards_counted: shards that were counted in this call, in `seconds`. shards_kept: shards whose counts an
    earlier call had left in the cache folder. captions_per_second: of all workers; None where none counted.
    """

    shards_counted: int
    shards_kept: int
    seconds: float
    captions_per_second: float | None


def built(vocabulary: Vocabulary, tally: Tally, top: int = 5) -> Built:
    """The result of a build, with the vocabulary's `top` first and last classes."""
    return Built(
        **summary(vocabulary, top).model_dump(),
        shards_counted=tally.counted,
        shards_kept=tally.kept,
        seconds=tally.seconds,
        captions_per_second=tally.captions / tally.seconds if tally.captions else None,
    )
