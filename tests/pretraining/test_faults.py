"""One process of a run fails, dies or hangs, really: all end within seconds, and by its cause."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from catlipctl import labels
from catlipctl.data.loader import Loader
from catlipctl.errors import DataError, OutOfMemory, Stopped, as_known
from catlipctl.pretraining import pretrain
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training import loop, saving

GONE, HANGS = "process 1 of {size} (on {host}) is gone", "process 1 of 2 (on {host}) hangs"


class Fault(NamedTuple):
    """What happens in one of so many processes; where; and what the run ends by."""

    what: str
    where: str
    code: int
    says: str
    rank: int = 1
    size: int = 2


FAULTS = {
    "killed in a step": Fault("kill", "draw", 1, GONE, size=3),
    "killed in a save": Fault("kill", "save", 1, GONE),
    "killed while another is busy": Fault("kill", "count", 1, GONE),
    "the first is killed": Fault("kill", "draw", 1, "process 0 of 2 is gone", rank=0),
    "stopped": Fault(
        "stop", "draw", 1, HANGS + ": the others have waited for it for 2 s, and it does not answer"
    ),
    "asleep": Fault("sleep", "draw", 1, HANGS),
    "data": Fault("data", "draw", 3, "shard 7 is damaged"),
    "memory": Fault("memory", "draw", 7, "no memory"),
    "a bug": Fault("bug", "draw", 1, "KeyError: 'a bug'"),
    "no file": Fault("file", "count", 1, "No such file"),
}


def happens(what: str) -> None:
    """The fault itself, in a process that is to have it."""
    (Path(os.environ["FAULT_TIME"])).write_text(str(time.time()))
    if what in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
    elif what == "sleep":
        time.sleep(1000)
    elif what == "data":
        raise DataError("shard 7 is damaged")
    elif what == "memory":
        raise OutOfMemory("no memory")
    elif what == "file":
        os.stat("/nowhere")
    raise KeyError("a bug")


def rank_of(fault: Fault, rank: int, recipe: PretrainRecipe, out: Path) -> int:
    """One process of the run, to its end: its exit code, as the command line has it."""
    loop.SHORT_WAIT, loop.SLOWER = timedelta(seconds=2), 0  # type: ignore[misc]
    joined, save, opened = Loader._joined, saving.Saves.save, pretrain.__globals__["open_source"]

    def drawn(self: Loader, chunks: Any, requests: Any) -> Any:
        if requests[0].step.index == 3:
            happens(fault.what)
        return joined(self, chunks, requests)

    def saved(self: saving.Saves, *arguments: Any, **named: Any) -> None:
        happens(fault.what)
        save(self, *arguments, **named)

    def counted(*_: Any) -> Any:
        return happens(fault.what) if rank == fault.rank else time.sleep(1000)

    if fault.where == "count":
        pretrain.__globals__["open_source"] = counted
    elif fault.where == "draw" and rank == fault.rank:
        Loader._joined = drawn  # type: ignore[method-assign]
    elif rank == fault.rank:
        saving.Saves.save = saved  # type: ignore[method-assign]
    try:
        pretrain(recipe, out=out, cpu=True)
    except Stopped as stopped:
        return stopped.exit_code
    except Exception as error:
        return as_known(error).exit_code
    finally:
        pretrain.__globals__["open_source"] = opened
    return 0


def worker(folder: Path) -> None:
    """Every fault in its turn, in forked processes; what became of them, to `found.json`."""
    recipe = PretrainRecipe.model_validate_json((folder / "recipe.json").read_text())
    labels.extractor("corenet")  # imported once, not by each process
    found = {}
    for name, fault in FAULTS.items():
        out = folder / name.replace(" ", "-")
        os.environ["FAULT_TIME"] = f"{out}.time"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        ranks = []
        for rank in range(fault.size):
            if (child := os.fork()) == 0:
                place = {"RANK": rank, "LOCAL_RANK": 0 if fault.where == "count" else rank}
                place |= {"WORLD_SIZE": fault.size, "LOCAL_WORLD_SIZE": fault.size}
                os.environ.update({key: str(value) for key, value in place.items()})
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os._exit(rank_of(fault, rank, recipe, out))
            ranks.append(child)
        codes = {}
        for rank, child in enumerate(ranks):
            if rank != fault.rank:
                codes[rank] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ended = time.time()
        if fault.what == "stop":
            os.kill(ranks[fault.rank], signal.SIGKILL)
        codes[fault.rank] = os.waitstatus_to_exitcode(os.waitpid(ranks[fault.rank], 0)[1])
        found[name] = {
            "codes": [codes[rank] for rank in range(fault.size)],
            "seconds": ended - float(Path(f"{out}.time").read_text()),
            "exit": json.loads((out / "exit.json").read_text()),
        }
    (folder / "found.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, pairs: Path, words: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("faults")
    recipe = {
        "model": {
            "name": "vit_tiny_patch16_224",
            "image_size": 32,
            "model_args": {"embed_dim": 24, "depth": 2, "num_heads": 2},
        },
        "data": {"sources": [str(pairs)]},
        "vocabulary": {"path": str(words)},
        "global_batch_size": 10,
        "length": {"steps": 100_000},
        "save_every": 4,
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=True, timeout=400)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", FAULTS)
def test_all_end_by_the_cause_of_one(found: dict[str, Any], name: str) -> None:
    fault, end = FAULTS[name], found[name]
    says = fault.says.format(size=fault.size, host=socket.gethostname())
    assert says in end["exit"]["message"]
    assert (end["exit"]["exit_code"], end["exit"]["rank"]) == (fault.code, fault.rank)
    others = [code for rank, code in enumerate(end["codes"]) if rank != fault.rank]
    assert others == [fault.code] * len(others)
    if fault.what in ("kill", "stop"):
        assert end["codes"][fault.rank] == -signal.SIGKILL
    else:
        assert end["codes"][fault.rank] == fault.code
    # Not a time that is measured: a collective would give up after 32 s, and while one is busy after hours.
    assert end["seconds"] < 30


def test_who_sleeps_is_told_by_its_place(found: dict[str, Any]) -> None:
    assert "line" in found["asleep"]["exit"]["message"]
    assert "(happens)" in found["asleep"]["exit"]["message"]


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
