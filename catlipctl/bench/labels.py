"""`bench labels`: captions a second of one core, by each extractor and by the reference path.

Each path has a fresh process of its own. They take turns, a block of captions each, every other block in the
other order, so that whatever else the machine does meanwhile hits all alike.
"""

import gzip
import hashlib
import multiprocessing
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from catlipctl import signals
from catlipctl.bench import label_path
from catlipctl.bench.label_path import REFERENCE, Read, SetUp
from catlipctl.bench.result import LabelsBenchmark, LabelsRow, Spread
from catlipctl.errors import DataError, MachineError
from catlipctl.progress import SILENT, Progress

BLOCKS = 20
PASSES = 5
MEASURED = ("corenet", "nouns", "subword")
"""The extractors that differ in speed."""
WARM_SECONDS = 1.5
"""A slow path's warm passes read as many captions as take it so long, of a core."""
TEXT = (".txt", ".txt.gz")
LONGEST = 2**24
"""Characters after which a line is taken for two."""


class Captions(NamedTuple):
    """The texts, and where they are from."""

    name: str
    texts: list[str]

    def sha256(self) -> str:
        """A hash of the texts, a line each."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


def read_captions(
    given: str | None,
    limit: int,
    *,
    caption_keys: Sequence[str] = (),
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Captions:
    """The first `limit` captions of a text file with one a line, or of a SOURCE; default the embedded ones.

    Raises:
        DataError: there are none.
        MachineError: the embedded ones are asked for, and the extra `demo` is not installed.
    """
    name = given or "the embedded emoji"
    if given is None:
        from catlipctl.data import emoji

        texts = emoji.captions()
        progress.note("captions: the names of the embedded emoji; --data takes a text file or a SOURCE")
    elif given.endswith(TEXT) and Path(given).is_file():
        texts = _lines(Path(given))
    else:
        from catlipctl import data

        source = data.open_source(given, caption_keys=caption_keys, cache_dir=cache_dir, progress=progress)
        texts = chain.from_iterable(source.captions())
    captions = Captions(name, list(islice(texts, limit)))
    if not captions.texts:
        raise DataError(
            f"{name} has no captions", "--data takes a text file with a caption a line, or a SOURCE"
        )
    return captions


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace", newline="\n") as stream:
            while line := stream.readline(LONGEST):
                yield line.rstrip("\r\n")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}", "make it again, or unpack it") from error


@dataclass
class _Path:
    """A path in its process, and what it has read there."""

    name: str
    process: ProcessPoolExecutor
    set_up: SetUp
    cold: list[Read] = field(default_factory=list)
    warm: list[Read] = field(default_factory=list)
    warm_captions: int = 0

    def captions_per_second(self, captions: int) -> float:
        """Cold, of a core's time."""
        return captions / max(sum(read.core_seconds for read in self.cold), 1e-9)

    def warm_speeds(self) -> list[float]:
        return [self.warm_captions / max(read.core_seconds, 1e-9) for read in self.warm]

    def labels(self) -> list[list[str]]:
        """Of each caption."""
        return [labels for read in self.cold for labels in read.labels]


def labels(captions: Captions, progress: Progress = SILENT) -> LabelsBenchmark:
    """Time every extractor and the reference on the captions; what has no data here is left out, and told."""
    load = os.getloadavg()[0]
    with ExitStack() as processes:
        paths, left_out = _started(processes, progress)
        _read_cold(paths, captions.texts, progress)
        _read_warm(paths, captions.texts, progress)
    reference = next((path for path in paths if path.name == REFERENCE), None)
    count = len(captions.texts)
    return LabelsBenchmark(
        protocol=f"captions to labels on one core: {count:,} captions cold, then warm",
        data={"source": captions.name, "captions": count, "sha256": captions.sha256()},
        captions=count,
        distinct=len(set(captions.texts)),
        passes=PASSES,
        rows=[_row(path, reference, captions.texts) for path in paths],
        differences=None if reference is None else _differences(paths, reference),
        left_out=left_out,
        load=(round(load, 2), round(os.getloadavg()[0], 2)),
    )


def _started(processes: ExitStack, progress: Progress) -> tuple[list[_Path], dict[str, str]]:
    """Each path, set up in a process of its own, one after the other; and what could not be."""
    paths, left_out = [], {}
    spawn = multiprocessing.get_context("spawn")
    for name in (*MEASURED, REFERENCE):
        process = processes.enter_context(ProcessPoolExecutor(1, spawn, signals.serve))
        try:
            with signals.withheld():
                ready = process.submit(label_path.set_up, name)
            paths.append(_Path(name, process, ready.result()))
        except MachineError as error:
            left_out[name] = error.hint
            progress.warn(f"{name} is left out: {error.message}; this brings them: {error.hint}")
    return paths, left_out


def _read_cold(paths: list[_Path], texts: list[str], progress: Progress) -> None:
    size = -(-len(texts) // BLOCKS)
    with progress.task("cold", total=len(texts) * len(paths), unit="captions") as task:
        for number, start in enumerate(range(0, len(texts), size)):
            block = texts[start : start + size]
            for path in paths if number % 2 == 0 else paths[::-1]:
                path.cold.append(path.process.submit(label_path.read, block).result())
                task.advance(len(block))


def _read_warm(paths: list[_Path], texts: list[str], progress: Progress) -> None:
    for path in paths:
        fitting = int(WARM_SECONDS * path.captions_per_second(len(texts)))
        path.warm_captions = min(len(texts), max(fitting, 1))
    total = PASSES * sum(path.warm_captions for path in paths)
    with progress.task("warm", total=total, unit="captions") as task:
        for number in range(PASSES):
            for path in paths if number % 2 == 0 else paths[::-1]:
                again = texts[: path.warm_captions]
                path.warm.append(path.process.submit(label_path.reread, again).result())
                task.advance(len(again))


def _row(path: _Path, reference: _Path | None, texts: list[str]) -> LabelsRow:
    found = path.labels()
    cold, warm = path.captions_per_second(len(texts)), Spread.of(path.warm_speeds())
    reads = path.cold + path.warm
    return LabelsRow(
        name=path.name,
        version=path.set_up.version,
        set_up_seconds=path.set_up.seconds,
        cold=cold,
        warm=warm,
        warm_best=max(path.warm_speeds()),
        warm_captions=path.warm_captions,
        remembered=_remembered(path.cold, texts),
        remembered_warm=_remembered(path.warm, texts[: path.warm_captions] * PASSES),
        labels=sum(map(len, found)) / len(found),
        without_label=sum(not labels for labels in found) / len(found),
        cold_ratio=None if reference is None else cold / reference.captions_per_second(len(texts)),
        warm_ratio=None if reference is None else warm.median / Spread.of(reference.warm_speeds()).median,
        core_share=min(1, sum(read.core_seconds for read in reads) / sum(read.seconds for read in reads)),
    )


def _remembered(reads: list[Read], texts: list[str]) -> float | None:
    """Share of the chunks between white space whose labels were still known."""
    chunks = sum(len(text.split()) for text in texts)
    misses = [read.misses for read in reads if read.misses is not None]
    return 1 - sum(misses) / chunks if misses and chunks else None


def _differences(paths: list[_Path], reference: _Path) -> int:
    corenet = next(path for path in paths if path.name == "corenet")
    pairs = zip(corenet.labels(), reference.labels(), strict=True)
    return sum(ours != theirs for ours, theirs in pairs)
