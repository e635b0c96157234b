"""Kills a run again and again, resumes it, and looks whether anything was lost: `make test-kills`.

    python tests/pretraining/kills.py --kills 20 --sets one,two,changing

A multi-scale run with RangeAugment and an average of its weights is left in peace once. Then, in each
set, SIGKILL goes to its whole process group at random moments, every fourth time into a save.

    one, two  that many processes throughout: losses and final state equal, bit for bit, a run's in peace
    changing  1, 2, 3, 1, ... processes and other worker counts: losses agree within 1e-5
    sharded   so too, with FSDP2 and DDP in turn
    stream    so too, with shards from an HTTP server

In each set every step has the samples of the run in peace, none lost, none twice, and a step that was drawn
again had the same. The ledger says so: each process writes down what its loader gives it.
"""

import argparse
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from catlipctl import checkpoints, labels
from catlipctl.data.batch import Batch
from catlipctl.data.loader import Loader
from catlipctl.pretraining import pretrain
from catlipctl.recipe import Override, load
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.report import read_metrics

SETS: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "one": [(1, {"data.workers": 1})],
    "two": [(2, {"data.workers": 1})],
    "changing": [(1, {}), (2, {"data.workers": 2}), (3, {"data.workers": 1}), (1, {"data.workers": 1})],
    "sharded": [(2, {"sharding": "full"}), (3, {"sharding": "full"}), (1, {}), (2, {"sharding": "none"})],
    "stream": [(1, {}), (2, {"data.workers": 2}), (3, {}), (1, {"data.workers": 1})],
}
"""The processes of each start, and what else of the recipe changes with it."""
WORDS = ("dog", "cat", "car", "tree", "house", "boat", "bird", "apple", "chair", "flower")
SHARDS, PAIRS = 4, 45

Ledger = dict[int, tuple[int, dict[int, int]]]
"""Step -> its size, and its samples by their positions."""


def recipe(folder: Path, sources: list[str], steps: int, overrides: list[str]) -> PretrainRecipe:
    """A tiny ViT, which has no BatchNorm, with all that must go on exactly."""
    document = {
        "model": {
            "name": "vit_tiny_patch16_224",
            "image_size": 32,
            "model_args": {"embed_dim": 24, "depth": 2, "num_heads": 2},
        },
        "data": {"sources": sources},
        "vocabulary": {"path": str(folder / "vocabulary.json")},
        "global_batch_size": 12,
        "device_batch_size": 5,
        "sizes": {"min": 32, "max": 64, "scales": 2},
        "range_augment": {},
        "ema": {"momentum": 0.05},
        "length": {"steps": steps},
        "optimiser": {"lr": 1e-4},
        "schedule": {"warmup_steps": 5},
        "save_every": 2,
        "keep_last": 2,
        "log_every": 1,
    }
    (folder / "kills.yaml").write_text(json.dumps(document))
    return load(PretrainRecipe, folder / "kills.yaml", [*map(Override.parse, overrides)]).value


def write_data(folder: Path) -> None:
    """Shards of small pictures, some damaged, and the vocabulary of their captions."""
    from catlipctl.labels.wordnet import nouns
    from catlipctl.vocabulary import Vocabulary

    draw = np.random.default_rng(0)
    (folder / "shards").mkdir(parents=True)
    for shard in range(SHARDS):
        with tarfile.open(folder / "shards" / f"{shard:02d}.tar", "w") as tar:
            for index in range(PAIRS):
                png = io.BytesIO()
                Image.fromarray(draw.integers(0, 255, (40, 36, 3), dtype=np.uint8)).save(png, "png")
                image = png.getvalue()[: 60 if index % 20 == 3 else None]
                caption = " and ".join(f"a {word}" for word in draw.choice(WORDS, 2))
                for name, content in (("png", image), ("txt", caption.encode())):
                    entry = tarfile.TarInfo(f"{shard:02d}{index:04d}.{name}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    keys = sorted(str(nouns().key_of(f"{word}.n.01")) for word in WORDS)
    Vocabulary(
        keys=tuple(keys),
        counts=(9,) * len(keys),
        extractor="corenet",
        extractor_version="1",
        source="drawn",
        captions=SHARDS * PAIRS,
        captions_without_label=0,
        counted="occurrences",
        threshold=0,
    ).save(folder / "vocabulary.json")


@dataclass
class Job:
    """A run that is started again and again, by a number of processes and workers that may change."""

    out: Path
    recipe: PretrainRecipe
    starts: Iterator[int] = field(default_factory=count)

    def start(self, processes: int, changes: dict[str, Any]) -> "Start":
        """Fork its processes, in a group of their own. What they import is imported already."""
        number, file = next(self.starts), self.recipe_file(changes)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        ranks: list[int] = []
        for rank in range(processes):
            child = os.fork()
            if child == 0:
                os.setpgid(0, ranks[0] if ranks else 0)
                place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
                place |= {"LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                if processes > 1:
                    os.environ.update({name: str(value) for name, value in place.items()})
                self._train(number, rank, file)
            ranks.append(child)
            os.setpgid(child, ranks[0])
        return Start(ranks, self.ledger_of(number, 0))

    def ledger_of(self, start: int, rank: int) -> Path:
        """Where a process of a start writes down what it draws."""
        return self.out.with_name(f"{self.out.name}.ledger.{start:03d}.{rank}")

    def _train(self, number: int, rank: int, file: Path) -> None:
        """In a child: train on, and write down what the loader gives."""
        signal.alarm(600)  # whatever becomes of who would kill it
        log = os.open(self.out.with_name(f"{self.out.name}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        ledger = self.ledger_of(number, rank)
        given = Loader.__call__

        def written(loader: Loader, steps: Any) -> Iterator[list[Batch]]:
            with ledger.open("a", buffering=1) as lines:
                for pieces in given(loader, steps):
                    rows = [
                        row
                        for piece in pieces
                        if piece.counted
                        for row in zip(piece.positions.tolist(), piece.samples.tolist(), strict=True)
                    ]
                    lines.write(json.dumps([pieces[0].step.index, pieces[0].step.size, rows]) + "\n")
                    yield pieces

        Loader.__call__ = written  # type: ignore[method-assign]
        try:
            torch.set_num_threads(1)
            settings = load(PretrainRecipe, file, []).value
            pretrain(settings, out=self.out, resume=True, cpu=True)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def recipe_file(self, changes: dict[str, Any]) -> Path:
        """The recipe with other values of some keys."""
        from catlipctl import recipe as recipes

        path = self.out.with_name(f"{self.out.name}.yaml")
        path.write_text(recipes.dump(self.recipe))
        overrides = [Override(key, value, "alternating") for key, value in changes.items()]
        path.write_text(recipes.dump(load(PretrainRecipe, path, overrides).value))
        return path

    def ledgers(self) -> list[dict[int, tuple[int, list[list[int]]]]]:
        """Of each start: step -> size and (position, sample) of all its processes."""
        found: dict[str, dict[int, tuple[int, list[list[int]]]]] = {}
        for path in sorted(self.out.parent.glob(f"{self.out.name}.ledger.*")):
            start = found.setdefault(path.name.split(".")[-2], {})
            for line in path.read_text().split("\n")[:-1]:  # a kill may have torn the last one
                step, size, rows = json.loads(line)
                known = start.setdefault(step, (size, []))
                assert known[0] == size
                known[1].extend(rows)
        return list(found.values())


@dataclass(frozen=True)
class Start:
    """The processes of one start."""

    ranks: list[int]
    ledger: Path

    def drawn(self) -> int:
        """Steps that its first process has drawn."""
        return self.ledger.read_text().count("\n") if self.ledger.exists() else 0

    def ended(self) -> bool:
        """Have all ended? AssertionError where one has failed."""
        for rank in list(self.ranks):
            pid, status = os.waitpid(rank, os.WNOHANG)
            if pid:
                assert status == 0, "a process failed: see the log"
                self.ranks.remove(rank)
        return not self.ranks

    def finish(self) -> None:
        """Wait for the end."""
        while not self.ended():
            time.sleep(0.02)

    def kill(self) -> bool:
        """SIGKILL the whole group; False where it has ended before."""
        if self.ended():
            return False
        os.killpg(self.ranks[0], signal.SIGKILL)
        for rank in self.ranks:
            os.waitpid(rank, 0)
        return True


def being_written(out: Path) -> set[str]:
    """Checkpoints that are being written, or were when the run was killed."""
    return {path.name for path in (out / "checkpoints").glob(".*.tmp")}


def in_peace(job: Job, processes: int, changes: dict[str, Any]) -> float:
    """Run it to its end: seconds to its first step."""
    begun = time.monotonic()
    start = job.start(processes, changes)
    while not start.drawn() and not start.ended():
        time.sleep(0.01)
    first = time.monotonic()
    start.finish()
    print(f"in peace by {processes}: {time.monotonic() - first:.1f} s", flush=True)
    return first - begun


def kill_and_resume(job: Job, name: str, kills: int, before: float) -> None:
    """Start, kill and resume the job, and at last let it come to its end.

    before: seconds to its first step. Half of the starts live for some steps, together fewer than it has.
    """
    chance, within = random.Random(name), 0
    most = int(1.5 * (job.recipe.length.steps or 0) / kills)
    for number in count():
        processes, changes = SETS[name][number % len(SETS[name])]
        written = being_written(job.out)
        start = job.start(processes, changes)
        if number == kills:
            start.finish()
            break
        if number % 4 == 3:
            while not being_written(job.out) - written and not start.ended():
                time.sleep(0.0005)
        elif number % 4 == 2:
            time.sleep(chance.uniform(0, before))
        else:
            steps = chance.randint(1, most)
            while start.drawn() < steps and not start.ended():
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
        assert start.kill(), f"{name}: the run ended before the kills did: give it more steps"
        within += bool(being_written(job.out) - written)
    rows = [json.loads(line) for line in (job.out / "starts.jsonl").read_text().splitlines()]
    begun = sorted({row["step"] for row in rows})
    # Else the last start alone would have made the run.
    assert len(begun) > kills / 3, begun
    print(f"{name}: {kills} kills, {within} of them in a save; begun at steps {begun}", flush=True)


def check_ledger(peace: Ledger, job: Job) -> None:
    """Every drawing of a step has the samples of the run in peace, and the last one has them all, once."""
    last: dict[int, tuple[int, list[list[int]]]] = {}
    for start in job.ledgers():
        for step, (size, rows) in start.items():
            wanted_size, wanted = peace[step]
            assert size == wanted_size, f"step {step} of {size} px"
            assert all(wanted.get(position) == sample for position, sample in rows), f"step {step}"
            last[step] = size, rows
    assert last.keys() == peace.keys()
    for step, (_, rows) in last.items():
        assert sorted(position for position, _ in rows) == sorted(peace[step][1]), f"step {step}"


def ledger(job: Job) -> Ledger:
    """Of a run in peace, all its positions in a row."""
    [start] = job.ledgers()
    found = {step: (size, dict(rows)) for step, (size, rows) in start.items()}
    positions = [position for step in sorted(found) for position in sorted(found[step][1])]
    assert positions == list(range(len(positions)))
    return found


def losses(job: Job) -> list[float]:
    """By step; each step has one row."""
    rows = read_metrics(job.out / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


def check_equal(peace: Job, job: Job) -> None:
    """The final checkpoint holds the same numbers, bit for bit, and all losses are equal."""
    assert losses(job) == losses(peace)
    found, wanted = (tensors(of.out) for of in (job, peace))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint, by file and name."""
    folder = checkpoints.resolve(run)
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.name}/{name}": value for file in files for name, value in load_file(file).items()}


class Ranges(SimpleHTTPRequestHandler):
    """Files, and parts of them."""

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            super().do_GET()
            return
        with open(self.translate_path(self.path), "rb") as stream:
            stream.seek(int(asked[1]))
            body = stream.read(int(asked[2]) - int(asked[1]) + 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def served(folder: Path) -> tuple[str, int]:
    """The URL of a server of the folder, and the process that it is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(folder)))
    child = os.fork()
    if child == 0:
        server.serve_forever()
    return f"http://127.0.0.1:{server.server_port}", child


def main() -> None:
    """Run the sets that are asked for; the first assertion that fails ends it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    asked = parser.parse_args()
    labels.extractor("corenet")  # imported once, not by each start
    folder = Path(tempfile.mkdtemp(prefix="catlipctl-kills-"))
    os.environ["CATLIPCTL_CACHE_DIR"] = str(folder / "cache")
    write_data(folder)
    url, server = served(folder / "shards")
    shards = [f"{shard:02d}.tar" for shard in range(SHARDS)]
    sources = [str(folder / "shards" / name) for name in shards]
    try:
        settings = recipe(folder, sources, asked.steps, asked.set)
        peace: dict[int, Job] = {}
        for processes in (1, 2) if "two" in asked.sets else (1,):
            peace[processes] = Job(folder / f"peace-{processes}", settings)
            before = in_peace(peace[processes], processes, {"data.workers": processes - 1})
        wanted = ledger(peace[1])
        for name in asked.sets.split(","):
            if name == "stream":
                settings = recipe(folder, [f"{url}/{name}" for name in shards], asked.steps, asked.set)
            job = Job(folder / name, settings)
            kill_and_resume(job, name, asked.kills, before)
            check_ledger(wanted, job)
            if name in ("one", "two"):
                check_equal(peace[SETS[name][0][0]], job)
            found, expected = np.array(losses(job)), np.array(losses(peace[1]))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=0)
            worst = np.abs(found / expected - 1).max()
            print(f"{name}: every step as in peace; losses within {worst:.1e} of one process's", flush=True)
    except BaseException:
        print(f"what was there stays in {folder}", file=sys.stderr)
        raise
    finally:
        os.kill(server, signal.SIGKILL)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
