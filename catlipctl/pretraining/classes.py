"""Which classes a run learns: the vocabulary that it has, is given, or counts."""

from pathlib import Path

from catlipctl import labels, objectives, vocabulary
from catlipctl.data.sample import Source
from catlipctl.errors import UsageError
from catlipctl.progress import Progress
from catlipctl.settings.pretraining import PretrainRecipe, VocabularySettings
from catlipctl.training import Run
from catlipctl.training.directory import RunDirectory
from catlipctl.vocabulary import Vocabulary


def given_vocabulary(recipe: PretrainRecipe, directory: RunDirectory | None) -> Vocabulary | None:
    """The run's own where an earlier start has settled it, else the recipe's file; None: to be counted.

    All sub-words for an objective of sub-words, where the recipe names no file and asks for no counting.
    UsageError where both are there and differ in their classes. A file that is gone by then may be gone.
    """
    path, extractor = recipe.vocabulary.path, recipe.vocabulary.extractor
    own = None
    if directory is not None and directory.vocabulary.exists():
        own = vocabulary.load(directory.vocabulary)
    if own is None and path is None and _takes_all_sub_words(recipe):
        return vocabulary.of_sub_words(_extractor(recipe))
    if path is None or (own is not None and not Path(path).exists()):
        return own
    given = vocabulary.load(Path(path))
    if extractor not in (None, given.extractor):
        raise UsageError(
            f"{path} was counted with {given.extractor}, and vocabulary.extractor is {extractor}",
            "leave out one of them: the vocabulary's extractor labels the captions",
        )
    if own is not None and (own.keys, own.extractor) != (given.keys, given.extractor):
        raise UsageError(
            f"{path} holds other classes than the run's vocabulary",
            "leave out --vocab (or add --set vocabulary.path=null), or start another run by --out",
        )
    return given if own is None else own


def settle_vocabulary(
    recipe: PretrainRecipe,
    run: Run,
    source: Source,
    given: Vocabulary | None,
    cache_dir: Path | None = None,
) -> Vocabulary | None:
    """The run's vocabulary: from an earlier start of the run, the one given, or counted now.

    None where the objective learns no classes.
    """
    if not objectives.find(recipe.objective).needs_classes:
        return None
    settings = recipe.vocabulary

    def settle() -> Vocabulary:
        if not run.directory.vocabulary.exists():
            found = given or counted(settings, _extractor(recipe), source, cache_dir, run.progress)
            found.save(run.directory.vocabulary)
            run.progress.note(f"vocabulary: {len(found):,} classes")
        return vocabulary.load(run.directory.vocabulary)

    # Not read by each: another node may see the file only later.
    return run.on_main(settle)


def _extractor(recipe: PretrainRecipe) -> str:
    """What makes labels of captions, where no vocabulary is given."""
    return recipe.vocabulary.extractor or objectives.find(recipe.objective).extractor


def _takes_all_sub_words(recipe: PretrainRecipe) -> bool:
    settings = recipe.vocabulary
    nothing_counted = (settings.threshold, settings.max_size, settings.count) == (None, None, None)
    both = {_extractor(recipe), objectives.find(recipe.objective).extractor}
    return nothing_counted and both <= set(labels.SUBWORDS)


def counted(
    settings: VocabularySettings, extractor: str, source: Source, cache_dir: Path | None, progress: Progress
) -> Vocabulary:
    """The labels that the recipe keeps of the source's captions; TooFewLabels hints at its key."""
    try:
        return vocabulary.build(
            source,
            extractor=extractor,
            threshold=settings.threshold,
            max_size=settings.max_size,
            count=settings.count,
            cache_dir=cache_dir,
            progress=progress,
        )
    except vocabulary.TooFewLabels as error:
        error.hint = (
            "give more captions by --data, or a vocabulary of others by --vocab FILE"
            if error.enough is None
            else f"--set vocabulary.threshold={error.enough}"
        )
        raise
