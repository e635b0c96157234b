"""Methods by their words: names, changes of their own, and what is not the same for all."""

import shlex
from pathlib import Path

import pytest

from catlipctl.errors import UsageError
from catlipctl.experiments.frontiers.methods import differing, methods
from catlipctl.recipe import Override

SHARED = [Override("data.sources", ["pairs.tar"], "--data")]


def test_a_word_names_a_recipe_with_changes_of_its_own() -> None:
    words = [
        "demo",
        "demo:optimiser.lr=1e-3:data.augmentation={scale: [0.5, 1.0]}",
        "clip=demo:objective=clip:clip={embed_dim: 8, text: {width: 16, heads: 1, layers: 1}}",
    ]
    plain, changed, clip = methods(words, SHARED)
    assert plain.name == "demo"
    assert changed.name.startswith("demo,optimiser.lr=1e-3,data.augmentation=")
    assert "/" not in changed.name
    assert changed.recipe.optimiser.lr == 0.001
    assert changed.recipe.data.augmentation.scale == (0.5, 1.0)
    assert (clip.name, clip.recipe.objective) == ("clip", "clip")
    assert clip.recipe.clip is not None
    assert clip.recipe.clip.text.width == 16
    assert all(method.recipe.data.sources == ["pairs.tar"] for method in (plain, changed, clip))
    # What one method changes inside a section that all were given does not reach the others.
    given = [*SHARED, Override("model", {"name": "resnet10t", "image_size": 32}, "--set")]
    biased, unbiased = methods(["demo:model.head_bias=-3", "other=demo"], given)
    assert (biased.recipe.model.head_bias, unbiased.recipe.model.head_bias) == (-3, 0)
    later = clip.changed(Override("length", {"samples": 7}, "budget")).value
    assert (later.length.samples, later.objective) == (7, "clip")


def test_what_is_not_the_same_is_told_and_what_makes_the_method_is_told_apart() -> None:
    words = [
        "a=demo:length={steps: 3}:optimiser.lr=0.5:vocabulary.threshold=9",
        "b=demo:data.augmentation.flip=0:sizes={from: 16, to: 32}",
    ]
    found = {one.key: one for one in differing(methods(words), fitted=True)}
    assert {key for key, one in found.items() if one.expected} == {"optimiser.lr", "vocabulary.threshold"}
    beyond = {key for key, one in found.items() if not one.expected}
    assert {"data.augmentation.flip", "sizes.from", "sizes.to"} <= beyond
    assert all(key.startswith(("data.augmentation", "sizes")) for key in beyond)
    assert found["data.augmentation.flip"].values == {"a": 0.5, "b": 0.0}
    assert found["sizes.to"].values == {"a": None, "b": 32}
    assert [one.expected for one in differing(methods(words), fitted=True)] == sorted(
        o.expected for o in found.values()
    )


@pytest.mark.parametrize("page", ["recipes/frontier-photos.yaml", "docs/speedrun.md"])
def test_the_documented_commands_compare_methods_and_nothing_else(page: str) -> None:
    text = (Path(__file__).parents[3] / page).read_text()
    lines = text.replace("\n# ", "\n").split("catlipctl frontier", 1)[1].split("--data")[0]
    words = shlex.split(lines.replace("\\\n", " ").replace("SAMPLES", "9000").replace("RATE", "0.01"))
    compared = methods(words, SHARED)
    assert len(compared) > 1
    assert len({method.recipe.objective for method in compared}) > 1
    if page.startswith("recipes"):
        assert [one.key for one in differing(compared, fitted=True) if not one.expected] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "demo"], "two methods are called demo"),
        (["demo", "x=demo:data.sources=[other.tar]"], "of other pairs"),
        (["a b=demo"], "cannot name a method"),
        (["..=demo"], "cannot name a method"),
        (["demo:optimiser.rl=1"], "did you mean optimiser.lr"),
        (["demmo"], "no recipe called demmo"),
    ],
)
def test_words_that_cannot_be_compared_are_told(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says.replace(".", r"\.")):
        methods(words)
