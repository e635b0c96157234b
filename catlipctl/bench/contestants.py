"""Who takes part in `bench step`."""

from collections.abc import Sequence

from catlipctl.bench import configuration as configurations
from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.learners import has_text_tower, ours
from catlipctl.bench.plain import plain_open_clip, plain_timm
from catlipctl.bench.spans import Contestant
from catlipctl.errors import UsageError
from catlipctl.objectives import OBJECTIVES
from catlipctl.objectives.objective import Encode
from catlipctl.training.world import World

PLAIN = {"catlip": ("plain timm", plain_timm), "clip": ("plain open_clip", plain_open_clip)}
"""What each of ours is held against."""


def entries(
    objectives: Sequence[str], contexts: Sequence[int | None], comparison: Comparison, *, plain: bool
) -> list[Entry]:
    """All sides, each beside those that it is compared with.

    contexts: tokens of those with a text tower, each measured once with each; None: the configuration's own.
    UsageError for an objective that there is not.
    """
    own = configurations.text_settings(comparison.configuration()).context_length
    found = []
    for objective in objectives:
        if objective not in OBJECTIVES and ":" not in objective:
            known = ", ".join((*OBJECTIVES, "package.module:Class"))
            raise UsageError(f"there is no objective {objective!r}", f"there is: {known}")
        tokens: list[int | None] = [None]
        if has_text_tower(objective):
            tokens = list(dict.fromkeys(context or own for context in contexts))
        for context in tokens:
            name = objective if context in (None, own) else f"{objective}, {context} tokens"
            found.append(Entry(name=name, objective=objective, context=context))
            if plain and objective in PLAIN and context == tokens[0]:
                rival = PLAIN[objective][0]
                found.append(Entry(name=rival, objective=objective, kind="plain", context=context))
    return found


def build(entry: Entry, comparison: Comparison, world: World, encode: Encode | None = None) -> Contestant:
    """Ready to step. encode: what ours makes labels of captions by."""
    if entry.kind == "plain":
        return PLAIN[entry.objective][1](entry, comparison, world)
    return ours(entry, comparison, world, encode)
