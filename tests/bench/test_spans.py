"""Spans of a step: operations of each part against the towers counted by torch alone, and closed forms."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from catlipctl.bench.comparison import Comparison, Entry, made_up_batch
from catlipctl.bench.configuration import clip_model, find
from catlipctl.bench.contestants import build, entries
from catlipctl.bench.learners import Engine, has_text_tower
from catlipctl.bench.spans import (
    HEAD,
    IMAGE,
    OPTIMISER,
    PARTS,
    PHASES,
    TEXT,
    Span,
    by_part,
    by_phase,
    counted,
    timed,
)
from catlipctl.objectives import OBJECTIVES
from catlipctl.training.world import World

BATCH, CPU, CLASSES = 4, torch.device("cpu"), 1000
CATLIP, CLIP = Entry(name="catlip", objective="catlip"), Entry(name="clip", objective="clip", context=77)


def case(tiny: Path) -> Comparison:
    return Comparison(model=str(tiny), batch_size=BATCH, classes=CLASSES)


def alone(call: Any) -> int:
    """Operations of a module's forward and backward pass, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call().sum().backward()
    return counter.get_total_flops()


def test_the_image_tower_is_timms_and_the_head_a_linear_layer(tiny: Path) -> None:
    found = by_part(counted(build(CATLIP, case(tiny), World(cpu=True)), CPU))
    vit = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=0, global_pool="token"
    )
    assert found[IMAGE] == alone(lambda: vit(torch.zeros(BATCH, 3, 64, 64)))
    assert found[HEAD] == 6 * BATCH * 64 * CLASSES
    assert (found[TEXT], found[OPTIMISER]) == (0, 0)


@pytest.mark.parametrize("context", [77, 32])
def test_both_towers_are_open_clips_and_the_rest_are_products_of_pairs(tiny: Path, context: int) -> None:
    entry = CLIP.model_copy(update={"context": context})
    comparison = case(tiny)
    found = by_part(counted(build(entry, comparison, World(cpu=True)), CPU))
    model: Any = clip_model(comparison.configuration(context))
    tokens = made_up_batch(comparison, World(cpu=True), "clip", context).targets["tokens"]
    visual = alone(lambda: model.encode_image(torch.zeros(BATCH, 3, 64, 64)))
    projection = 6 * BATCH * 64 * 48
    assert found[IMAGE] == visual - projection
    assert found[TEXT] == alone(lambda: model.encode_text(tokens))
    # The logits of a process alone, once, and a product for each side's gradient.
    assert found[HEAD] == projection + 6 * BATCH * BATCH * 48


def test_what_is_computed_again_is_not_counted(tiny: Path) -> None:
    world, again = World(cpu=True), case(tiny).model_copy(update={"activation_checkpointing": True})
    plain, engine = (build(CLIP, one, world) for one in (case(tiny), again))
    assert isinstance(engine, Engine)
    expected = counted(plain, CPU)
    with engine.nothing_computed_again():
        assert counted(engine, CPU) == expected
    assert sum(counted(engine, CPU).values()) > sum(expected.values())


def test_a_second_head_is_no_part_of_a_tower(tiny: Path) -> None:
    world, comparison = World(cpu=True), case(tiny)
    entry = CLIP.model_copy(update={"objective": "superclip"})
    clip, both = (by_part(counted(build(one, comparison, world), CPU)) for one in (CLIP, entry))
    assert {name: both[name] for name in (IMAGE, TEXT)} == {name: clip[name] for name in (IMAGE, TEXT)}
    # SuperCLIP: what the text tower and the contrast take, and a classifier.
    assert both[HEAD] - clip[HEAD] == 6 * BATCH * 64 * CLASSES


@pytest.mark.parametrize("compiled", [False, True])
def test_a_steps_spans_follow_each_other_and_sum_up_to_it(tiny: Path, compiled: bool) -> None:
    torch._dynamo.reset()
    plain = torch.nn.Module.compile
    patch = pytest.MonkeyPatch()
    # Traced, but not by a C++ compiler, which takes a minute.
    patch.setattr(torch.nn.Module, "compile", lambda self, **o: plain(self, backend="aot_eager", **o))
    try:
        names = ["catlip", "clip"] if compiled else list(OBJECTIVES)
        for entry in entries(names, [None], case(tiny), plain=not compiled):
            made = case(tiny).model_copy(update={"compile": compiled})
            contestant = build(entry, made, World(cpu=True))
            told: list[Span] = []
            contestant.step(told.append)
            assert list(dict.fromkeys(span.phase for span in told)) == list(PHASES)
            spans = timed(contestant, CPU)
            assert min(spans.values()) > 0
            total = sum(spans.values())
            assert sum(by_phase(spans).values()) == pytest.approx(total)
            parts = by_part(spans)
            if entry.kind == "plain":
                assert parts == {}
                continue
            assert list(parts) == list(PARTS)
            assert sum(parts.values()) == pytest.approx(total)
            assert (parts[TEXT] > 0) == has_text_tower(entry.objective)
            both = {part for part in PARTS if parts[part] and part != OPTIMISER}
            backward = {span.part for span in told if span.phase == "backward"}
            assert backward == both
            assert [Span.parse(str(span)) for span in spans] == list(spans)
    finally:
        patch.undo()


def test_only_one_of_two_contexts_is_named_and_plain_steps_stand_beside_ours(tiny: Path) -> None:
    names = [entry.name for entry in entries(["clip", "catlip"], [None, 77, 32], case(tiny), plain=True)]
    assert names == ["clip", "plain open_clip", "clip, 32 tokens", "catlip", "plain timm"]
    assert find(str(tiny))["text_cfg"]["context_length"] == 77
