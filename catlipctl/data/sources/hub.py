"""`hf:ORG/NAME[/SPLIT][:CONFIG][@REVISION]`: tars on the Hub by our own reader, all else by `datasets`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from catlipctl import network
from catlipctl.data.sample import Need, Source
from catlipctl.data.sources.arrow import DatasetSource
from catlipctl.data.sources.columns import Columns
from catlipctl.data.sources.locate import Located, look_at_all
from catlipctl.data.sources.parquet import quiet_datasets
from catlipctl.data.sources.streams import Streaming, open_tars
from catlipctl.errors import DataError, UsageError
from catlipctl.progress import SILENT, Progress

if TYPE_CHECKING:
    import datasets

FORM = "hf:ORG/NAME[/SPLIT][:CONFIG][@REVISION]"
OFFLINE_HINT = "check the network; or download it on a machine that has one, and give its folder as SOURCE"
_NAME = re.compile(
    r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<split>[\w.-]+))?(?::(?P<config>[^@:]+))?(?:@(?P<revision>[^@]+))?$"
)


class HubName(NamedTuple):
    """What `hf:...` names."""

    repository: str
    split: str | None
    config: str | None
    revision: str | None

    @classmethod
    def parse(cls, spec: str) -> "HubName":
        """Read `hf:ORG/NAME[/SPLIT][:CONFIG][@REVISION]`.

        Raises:
            UsageError: it is none.
        """
        match = _NAME.match(spec)
        if match is None:
            raise UsageError(
                f"{spec} is not the name of a dataset on the Hub",
                "write hf:ORG/NAME[/SPLIT][:CONFIG][@REVISION]",
            )
        return cls(**match.groupdict())


def open_hub(
    spec: str,
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    strict: bool = False,
    streaming: Streaming | None = None,
    cache: Path,
    progress: Progress = SILENT,
) -> Source:
    """A dataset of the Hub; SPLIT is `train` where none is named.

    Raises:
        DataError: there is none, or it has no such split or columns. MachineError: the Hub does not answer.
    """
    name = HubName.parse(spec)
    tars = tar_urls(name)
    if tars:
        return open_tars(
            spec,
            look_at_all(tars),
            streaming=streaming,
            image_key=image_key,
            caption_keys=caption_keys,
            label_key=label_key,
            need=need,
            strict=strict,
            cache=cache,
            progress=progress,
        )
    import datasets

    progress.note(f"loading {spec} with datasets into {cache / 'datasets'}")
    try:
        with network.hub(spec, OFFLINE_HINT), quiet_datasets():
            dataset = datasets.load_dataset(
                name.repository,
                name.config,
                split=name.split or "train",
                revision=name.revision,
                cache_dir=str(cache / "datasets"),
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{spec} cannot be loaded: {str(error).splitlines()[0]}",
            f"check the name, its split and configuration: {FORM}",
        ) from error
    return open_dataset(
        spec,
        dataset,
        image_key=image_key,
        caption_keys=caption_keys,
        label_key=label_key,
        need=need,
        progress=progress,
    )


def open_dataset(
    name: str,
    dataset: "datasets.Dataset",
    *,
    image_key: str | None = None,
    caption_keys: Sequence[str] = (),
    label_key: str | None = None,
    need: Need = "captions",
    progress: Progress = SILENT,
) -> DatasetSource:
    """The rows of a `datasets.Dataset` that is already there."""
    columns = Columns.of_schema(
        name,
        dataset.features.arrow_schema,
        image_key=image_key,
        caption_keys=caption_keys,
        label_key=label_key,
        need=need,
    )
    return DatasetSource(name, dataset, columns, fingerprint=dataset._fingerprint, progress=progress)


def locate_hub(spec: str) -> Located:
    """The tars of a dataset of the Hub, else its Parquet.

    Raises:
        DataError: it has neither, or as `file_urls`.
    """
    name = HubName.parse(spec)
    tars = tar_urls(name)
    if tars:
        return Located("tar", look_at_all(tars))
    tables = file_urls(name, ".parquet")
    if name.config:
        tables = [url for url in tables if f"/{name.config}/" in url]
    if not tables:
        raise DataError(
            f"{spec} has neither tars nor Parquet",
            f"the Hub keeps a copy in Parquet of many datasets: hf:{name.repository}@refs/convert/parquet",
        )
    return Located("parquet", look_at_all(tables))


def tar_urls(name: HubName) -> list[str]:
    """URLs of the tars in a repository, as `file_urls` chooses them."""
    return file_urls(name, ".tar")


def file_urls(name: HubName, suffix: str) -> list[str]:
    """URLs of a repository's files of a kind: those with the split in their path, all where none has it.

    Raises:
        DataError: there is no such dataset, or the split that was named has none.
        MachineError: the Hub does not answer.
    """
    import huggingface_hub
    import huggingface_hub.errors

    try:
        with network.hub(f"hf:{name.repository}", OFFLINE_HINT):
            files = huggingface_hub.HfApi().list_repo_files(
                name.repository, repo_type="dataset", revision=name.revision
            )
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise DataError(
            f"the Hub has no dataset {name.repository}, or it is private",
            "check the name; private datasets need `hf auth login`",
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"hf:{name.repository} cannot be listed: {str(error).splitlines()[0]}",
            f"check the name and its revision: {FORM}",
        ) from error
    there = sorted(file for file in files if file.endswith(suffix))
    chosen = [file for file in there if (name.split or "train") in file]
    if name.split and there and not chosen:
        kind = suffix.removeprefix(".")
        raise DataError(
            f"hf:{name.repository} has no {kind} of split {name.split!r}", f"it has {there[0]}, ..."
        )
    revision = f"@{name.revision.replace('/', '%2F')}" if name.revision else ""
    return [f"hf://datasets/{name.repository}{revision}/{file}" for file in chosen or there]
