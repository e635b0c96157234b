"""Which run a training command works on, and by which recipe: what was named, or with --resume the newest."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from catlipctl.cli.output import Output, age, is_main
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from catlipctl.training.directory import RunDirectory

DEFAULT_RECIPE = "demo"


class Chosen(NamedTuple):
    """The recipe's file, the name that a new run gets, and the run's directory where it is known."""

    recipe: Path
    name: str
    out: Path | None


def pretraining(
    words: list[str], out: Path | None, output: Output, *, data: bool, resume: bool, allow_changes: bool
) -> Chosen:
    """What `pretrain` is to work on. words: those in the place of RECIPE, of which one may be a run.

    data: is a source named? UsageError for words that are no recipe and no run, and where a run is to be gone
    on with and there is none.
    """
    from catlipctl.recipe import find

    only_on_resuming(allow_changes, resume=resume)
    word = _one_recipe(words)
    if word is not None:
        run = _run_in_the_place_of_a_recipe(word, resume=resume)
        if run is not None:
            return Chosen(run.recipe, run.path.name, out or (run.path if resume else None))
        if resume and "/" in word and not Path(word).exists():
            raise UsageError(
                f"no run and no recipe at {word}", "without a name, --resume takes the newest unfinished run"
            )
        path = find(word)
        return Chosen(path, path.stem, out or (_newest_of(path.stem, output) if resume else None))
    if resume:
        run = _named_or_newest(out, output, allow_changes=allow_changes)
        if run is not None:
            return Chosen(run.recipe, run.path.name, run.path)
    if data:
        from catlipctl.recipe import names

        raise UsageError("--data without a recipe", f"name one of the recipes: {', '.join(names())}")
    return Chosen(find(DEFAULT_RECIPE), DEFAULT_RECIPE, out)


def only_on_resuming(allow_changes: bool, *, resume: bool) -> None:
    """UsageError where a recipe is to change and no run is to go on."""
    if allow_changes and not resume:
        raise UsageError("--allow-recipe-change without --resume", "add --resume, and the run's --out DIR")


def fine_tuning(name: str, checkpoint: str | None, out: Path | None, output: Output) -> "RunDirectory | None":
    """The run of fine-tuning that `eval ft --resume` goes on with; None where it is to start one.

    It is the one in `out`, or the newest called `name` or `name-<number>`, of the checkpoint where one is
    named.
    """
    from catlipctl import checkpoints, recipe
    from catlipctl.settings.finetuning import FinetuneRecipe
    from catlipctl.training.directory import RunDirectory, numbered
    from catlipctl.training.resuming import is_of

    if out is not None:
        run = RunDirectory(out)
        return run if is_of(FinetuneRecipe, run) else None
    if checkpoint is not None and Path(checkpoint).exists():
        folders = list(numbered(name, checkpoints.run_of(checkpoints.resolve(checkpoint)) / "eval"))
    else:
        folders = [folder for root in Path("runs").glob("*/eval") for folder in numbered(name, root)]
        runs = [run for run in map(RunDirectory, folders) if is_of(FinetuneRecipe, run)]
        wanted = [run for run in runs if checkpoint in (None, recipe.read(run.recipe)["checkpoint"])]
        folders = [run.path for run in wanted]
    return _newest(folders, FinetuneRecipe, output)


def _one_recipe(words: list[str]) -> str | None:
    tars = [text for text in words if text.endswith((".tar", ".tar.gz", ".tgz")) and Path(text).exists()]
    if tars or len(words) > 1:
        raise UsageError(
            f"{(tars or words)[0]} stands in the place of the recipe",
            "quote the pattern, so that the shell does not unfold it: --data 'shards/{0000..0099}.tar'",
        )
    return words[0] if words else None


def _run_in_the_place_of_a_recipe(word: str, *, resume: bool) -> "RunDirectory | None":
    """The run that a word means by its directory or its recipe.yaml; None where it means another recipe."""
    from catlipctl.recipe import names

    path = Path(word)
    if word in names() or not (path.is_dir() or (path.name == "recipe.yaml" and path.is_file())):
        return None
    # After that, because a wrong recipe is refused without torch.
    from catlipctl.settings.pretraining import PretrainRecipe
    from catlipctl.training.directory import RunDirectory
    from catlipctl.training.resuming import is_of

    run = RunDirectory(path if path.is_dir() else path.parent)
    if not run.is_run:
        if path.is_file():
            return None
        raise UsageError(f"{word} holds no run", "name a recipe, or a run's directory")
    if path.is_dir() and not resume:
        raise UsageError(
            f"{word} is a run, not a recipe",
            f"go on with it: catlipctl pretrain {word} --resume; "
            f"or start another by its recipe: catlipctl pretrain {run.recipe}",
        )
    if not is_of(PretrainRecipe, run):
        raise UsageError(
            f"{run.path} is no run of pre-training",
            f"one of fine-tuning goes on by: catlipctl eval ft --data SOURCE --out {run.path} --resume",
        )
    return run


def _newest_of(name: str, output: Output) -> Path | None:
    """The directory of the newest run of a recipe called `name`, if there is one."""
    from catlipctl.settings.pretraining import PretrainRecipe
    from catlipctl.training.directory import numbered

    run = _newest(numbered(name), PretrainRecipe, output)
    return None if run is None else run.path


def _named_or_newest(out: Path | None, output: Output, *, allow_changes: bool) -> "RunDirectory | None":
    """The run in `out`, or None where it is to be started there; without `out` the newest under ./runs."""
    from catlipctl.settings.pretraining import PretrainRecipe
    from catlipctl.training.directory import RunDirectory

    if out is not None:
        run = RunDirectory(out)
        return run if run.is_run else None
    root = Path("runs")
    found = _newest(root.iterdir() if root.is_dir() else (), PretrainRecipe, output)
    if found is None:
        raise UsageError(
            f"no run of pre-training under {root}/ to go on with",
            "start one: catlipctl pretrain (the demo), or catlipctl pretrain RECIPE --data SOURCE",
        )
    if allow_changes:
        raise UsageError(
            "--allow-recipe-change without the run whose recipe is to change",
            f"name it: catlipctl pretrain {found.path} --resume --allow-recipe-change --set KEY=VALUE",
        )
    return found


def _newest(folders: Iterable[Path], kind: "type[BaseModel]", output: Output) -> "RunDirectory | None":
    """The newest run among the folders, an unfinished one if there is any; it is said which."""
    from catlipctl.training.resuming import newest

    run = newest(folders, kind)
    if run is not None and is_main():
        which = "the newest run, all are complete" if run.was_complete else "the newest unfinished run"
        output.note(f"going on with {run.path} ({which}; at work {age(time.time() - run.worked_at)})")
    return run
