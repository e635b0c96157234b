"""Who takes part in `bench step`, by name."""

from collections.abc import Callable

from catlipctl.bench.learners import Comparison, Contestant, catlip, clip
from catlipctl.bench.plain import plain_open_clip, plain_timm
from catlipctl.training.world import World

CONTESTANTS: dict[str, Callable[[Comparison, World], Contestant]] = {
    "CatLIP": catlip,
    "CLIP": clip,
    "plain timm": plain_timm,
    "plain open_clip": plain_open_clip,
}
PLAIN = {"CatLIP": "plain timm", "CLIP": "plain open_clip"}
"""What each of ours is held against."""
TURNS = ("plain timm", "CatLIP", "CLIP", "plain open_clip")
"""Each beside those that it is compared with."""
