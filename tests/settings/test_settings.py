"""What recipes may say: it is refused without torch, and every number has bounds."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from catlipctl.objectives import OBJECTIVES
from catlipctl.recipe import find, load, written
from catlipctl.settings import objectives
from catlipctl.settings.finetuning import FinetuneRecipe
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.settings.training import Length

HEAVY = ("torch", "timm", "datasets", "matplotlib")


def run_and_list_modules(*arguments: str, folder: Path) -> tuple[int, str, list[str]]:
    """Exit code, stderr and the heavy modules of a fresh interpreter that has run a command line."""
    code = (
        "import sys\n"
        "from catlipctl.cli.main import main\n"
        "sys.argv = ['catlipctl', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "finally:\n"
        f"    print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=folder
    )
    *said, loaded = ran.stderr.strip().splitlines()
    assert loaded.startswith("loaded:"), ran.stderr
    return ran.returncode, "\n".join(said), loaded.split()[1:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pretrain", "--set", "optimizer.lr=1"), "optimizer: unknown key; did you mean optimiser?"),
        (("pretrain", "--set", "optimiser.lr=fast"), "optimiser.lr: input should be a valid number"),
        (
            ("pretrain", "--set", "global_batch_size=1000000000"),
            "global_batch_size: input should be less than",
        ),
        (
            ("pretrain", "--set", "objective=clap", "--dry-run"),
            "objective: 'clap' is not one of: catlip, clip, siglip, superclass, superclip, ",
        ),
        (
            ("eval", "ft", "--data", "photos", "--checkpoint", "timm:x", "--set", "layer_decay=2"),
            "layer_decay: input should be less than",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_without_torch(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    code, stderr, loaded = run_and_list_modules(*arguments, folder=tmp_path)
    assert code == 2
    assert said in stderr
    assert loaded == []


@pytest.mark.parametrize("arguments", [("list",), ("show", "demo"), ("keys",), ("keys", "sizes", "--json")])
def test_recipes_are_shown_without_torch(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert run_and_list_modules("recipe", *arguments, folder=tmp_path)[::2] == (0, [])


def numbers(annotation: Any, metadata: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The constraints of each number that an annotation lets through."""
    if annotation in (int, float):
        return [metadata]
    inner = getattr(annotation, "__metadata__", ())
    inner = tuple(
        found for item in inner for found in (item.metadata if isinstance(item, FieldInfo) else [item])
    )
    args = getattr(annotation, "__args__", ())
    return [found for arg in args for found in numbers(arg, metadata + inner)]


def unbounded(cls: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in cls.model_fields.items():
        annotation = field.annotation
        inside = [a for a in (annotation, *getattr(annotation, "__args__", ())) if isinstance(a, type)]
        sections = [a for a in inside if issubclass(a, BaseModel)]
        for section in sections:
            found += unbounded(section, f"{prefix}{name}.")
        for constraints in numbers(annotation, tuple(field.metadata)):
            low = any(isinstance(c, Ge | Gt) for c in constraints)
            high = any(isinstance(c, Le | Lt) for c in constraints)
            if not (low and high):
                found.append(prefix + name)
    return found


@pytest.mark.parametrize("cls", [PretrainRecipe, FinetuneRecipe])
def test_every_number_has_bounds(cls: type[BaseModel]) -> None:
    assert unbounded(cls) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"global_batch_size": 10**9},
        {"length": {"steps": 10**18}},
        {"length": {"samples": 10**12}, "global_batch_size": 1},
        {"data": {"workers": 10**6}},
        {"model": {"image_size": 10**6}},
        {"optimiser": {"lr": 1e308}},
        {"sizes": {"min": 128, "max": 10**9}},
        {"save_minutes": 1e300},
    ],
)
def test_sizes_that_no_run_has_are_refused_by_the_schema(fault: dict[str, Any]) -> None:
    sane: dict[str, Any] = {"model": {}, "length": {"steps": 10}, "global_batch_size": 64}
    PretrainRecipe.model_validate(sane)
    with pytest.raises(ValidationError):
        PretrainRecipe.model_validate({**sane, **fault})


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")))
def test_the_shipped_recipes_are_within_them(path: Path) -> None:
    """Each is of the command that its header names."""
    if written(path.stem).command == "eval ft":
        tuned = load(FinetuneRecipe, find(path.stem), ["checkpoint=runs/mine"], environment={})
        assert tuned.value.length != Length(steps=1)
    else:
        assert load(PretrainRecipe, find(path.stem), environment={}).value.length != Length(steps=1)


def test_the_names_of_objectives_are_those_that_there_are() -> None:
    assert tuple(OBJECTIVES) == objectives.OBJECTIVES
