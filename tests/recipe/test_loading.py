from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from catlipctl import recipe
from catlipctl.errors import UsageError
from catlipctl.recipe.text import parse


class Optimiser(BaseModel):
    model_config = ConfigDict(extra="forbid")
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)


class Length(BaseModel):
    model_config = ConfigDict(extra="forbid")
    exclusive: ClassVar = ("samples", "steps")
    samples: int | None = None
    steps: int | None = None

    @model_validator(mode="after")
    def _one(self) -> "Length":
        if (self.samples is None) == (self.steps is None):
            raise ValueError("give exactly one")
        return self


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seed: int = 0
    momentum: float | str | None = None
    arguments: dict[str, int] = Field(default_factory=dict)
    optimiser: Optimiser = Field(default_factory=Optimiser)
    length: Length


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text("seed: 1\noptimiser: {lr: 2e-3}\nlength: {steps: 10}\narguments: {a: 1}\n")
    return path


def test_flag_beats_environment_beats_file_beats_default(file: Path) -> None:
    environment = {
        "CATLIPCTL_SEED": "2",
        "CATLIPCTL_OPTIMISER__LR": "0.5",
        "CATLIPCTL_DEBUG": "1",
        "CATLIPCTL_CACHE_DIR": "/x",
    }
    loaded = recipe.load(Recipe, file, ["seed=3", "arguments.b=2"], environment)
    assert loaded.value.model_dump() == {
        "seed": 3,
        "momentum": None,
        "arguments": {"a": 1, "b": 2},
        "optimiser": {"lr": 0.5, "betas": (0.9, 0.999)},
        "length": {"samples": None, "steps": 10},
    }
    assert loaded.origins == {
        "seed": "--set",
        "momentum": "default",
        "arguments": f"{file}, --set",
        "optimiser.lr": "CATLIPCTL_OPTIMISER__LR",
        "optimiser.betas": "default",
        "length.samples": "default",
        "length.steps": str(file),
    }


def test_a_key_takes_the_place_of_those_it_excludes_in_lower_layers(file: Path) -> None:
    environment = {"CATLIPCTL_LENGTH__STEPS": "20"}
    loaded = recipe.load(Recipe, file, ["length.samples=5"], environment)
    assert loaded.value.length == Length(samples=5)
    assert (loaded.origins["length.samples"], loaded.origins["length.steps"]) == ("--set", "default")
    assert recipe.load(Recipe, file, ["length.samples=null"], {}).value.length == Length(steps=10)
    with pytest.raises(UsageError, match="give exactly one"):
        recipe.load(Recipe, file, ["length.samples=5", "length.steps=3"], {})


def test_a_section_set_whole_replaces_the_files(file: Path) -> None:
    loaded = recipe.load(Recipe, file, ["length={samples: 5}"], {})
    assert loaded.value.length == Length(samples=5)
    assert loaded.origins["length.samples"] == "--set"
    assert loaded.origins["length.steps"] == "default"


def test_all_faults_are_told_together_with_path_origin_and_nearest_key(file: Path) -> None:
    overrides = [
        "optimiser.lrr=1",
        "sed=2",
        "lr=2",
        "seed.x=1",
        "optimiser.lr=fast",
        "length={steps: 1, samples: 1}",
    ]
    with pytest.raises(UsageError) as caught:
        recipe.load(Recipe, file, overrides, {"CATLIPCTL_OPTIMISER__BETA": "[0, 1]"})
    lines = caught.value.message.splitlines()
    assert lines[0] == "the recipe has 7 faults"
    assert sorted(line.strip() for line in lines[1:]) == [
        "length: give exactly one (from --set)",
        "lr: unknown key; did you mean optimiser.lr? (from --set)",
        "optimiser.beta: unknown key; did you mean optimiser.betas? (from CATLIPCTL_OPTIMISER__BETA)",
        "optimiser.lr: input should be a valid number, unable to parse string as a number, not 'fast' "
        "(from --set)",
        "optimiser.lrr: unknown key; did you mean optimiser.lr? (from --set)",
        "sed: unknown key; did you mean seed? (from --set)",
        "seed.x: seed is a value, not a section (from --set)",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2\n", "line 2: the key 'a' stands twice"),
        ("a: {b: 1, b: 2}\n", "the key 'b' stands twice"),
        ("a: [1, 2\n", "line 2"),
        ("a: &x [1]\nb: *x\n", "aliases are not read"),
        ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        ("1: 2\n", "1 is not a key"),
        ("- a\n", "no mapping"),
        ("a: !!int abc\n", "line 1: 'abc' is not a valid int"),
        ("a: 1\nb: !!float abc\n", "line 2: 'abc' is not a valid float"),
        ("a: !!bool abc\n", "'abc' is not a valid bool"),
        ("a: !!map abc\n", "expected a mapping"),
        ("a: 2026-13-45\n", "'2026-13-45' is not a valid timestamp"),
        ("a: !!timestamp abc\n", "'abc' is not a valid timestamp"),
        (f"a: {'1' * 5000}\n", "is not a valid int"),
        (f"a: 0x{'f' * 5000}\n", "a number of this size"),
        ("[" * 100_000, "nested deeper than 32 levels"),
        ("a: " * 3 + "{a: " * 1000, "line 1"),
        ('a: "\\ud800"\n', "is not text"),
        ('a: "runs/\\0x"\n', "is not text"),
        ("a: \x1b\n", r"U\+001B cannot stand in YAML"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as refused:
        recipe.read(path)
    assert len(refused.value.message.splitlines()) == 1


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x89PNG\xff")
    (tmp_path / "large").write_bytes(b"#" * (2 << 20))
    for name in ("binary", "large", "missing"):
        with pytest.raises(UsageError):
            recipe.read(tmp_path / name)


INTEGERS = st.integers(1 - 2**63, 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_yaml_writes_is_read_back(value: object) -> None:
    assert parse(yaml.safe_dump(value), "text") == yaml.safe_load(yaml.safe_dump(value))


@given(seed=INTEGERS, lr=st.floats(min_value=1e-9, max_value=1e9), steps=INTEGERS)
def test_a_dumped_recipe_loads_as_itself(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lr: float, steps: int
) -> None:
    before = Recipe(seed=seed, optimiser=Optimiser(lr=lr), length=Length(steps=steps))
    path = tmp_path_factory.mktemp("r") / "r.yaml"
    path.write_text(recipe.dump(before))
    assert recipe.load(Recipe, path, [], {}).value == before
