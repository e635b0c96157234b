"""Which directory a path means: runs, steps, the pointer, and what is left after an accident."""

import os

import pytest
from pydantic import BaseModel

from catlipctl import checkpoints, models
from catlipctl.errors import CheckpointError
from catlipctl.models import Tower
from catlipctl.settings.models import ModelSettings


@pytest.fixture
def run(tmp_path, resnet):
    for step in (1000, 2000, 3000):
        checkpoints.write_step(tmp_path / "runs" / "demo", step, tower=resnet, config={"step": step})
    return tmp_path / "runs" / "demo"


def test_a_run_its_checkpoints_and_a_step_all_resolve(run):
    newest = run / "checkpoints" / "step-00003000"
    assert (run / "checkpoints" / "latest").read_text() == "step-00003000\n"
    assert [checkpoints.resolve(p) for p in (run, run / "checkpoints", newest)] == [newest] * 3
    assert checkpoints.resolve(str(run / "checkpoints/step-00001000")).name == "step-00001000"
    assert checkpoints.load(run).config == {"step": 3000}


def test_the_pointer_rules_where_it_names_a_complete_checkpoint(run):
    (run / "checkpoints" / "latest").write_text("step-00001000\n")
    assert checkpoints.resolve(run).name == "step-00001000"


@pytest.mark.parametrize("pointer", [None, "step-00009000\n", "../../elsewhere\n", "", b"\xff\xfe"])
def test_otherwise_the_newest_complete_step_does(run, pointer):
    folder = run / "checkpoints"
    (folder / "latest").unlink()
    if pointer is not None:
        (folder / "latest").write_bytes(pointer if isinstance(pointer, bytes) else pointer.encode())
    (folder / "step-00003000" / "model.safetensors").write_bytes(b"cut off")
    (folder / "step-00004000").mkdir()
    (folder / ".step-00005000.0123abcd.tmp").mkdir()
    assert checkpoints.latest(run) == folder / "step-00002000"


def test_saving_a_step_again(run, resnet):
    """At the pointer it is there already; after it, it is what an interrupted run left, and is replaced."""
    again = checkpoints.write_step(run, 3000, tower=resnet, config={"objective": "other"})
    assert checkpoints.load(again).config == {"step": 3000}
    (run / "checkpoints" / "latest").write_text("step-00001000\n")
    replaced = checkpoints.write_step(run, 2000, tower=resnet, config={"objective": "again"})
    assert checkpoints.latest(run) == replaced
    assert checkpoints.load(run).config == {"objective": "again"}


def test_newest_run_is_the_one_that_saved_last(run, resnet):
    root = run.parent
    checkpoints.write_step(root / "other", 1, tower=resnet, config={})
    (root / "empty" / "checkpoints").mkdir(parents=True)
    (root / "note.txt").write_text("not a run")
    moment = (run / "checkpoints/step-00003000/manifest.json").stat().st_mtime
    os.utime(root / "other/checkpoints/step-00000001/manifest.json", (moment - 5000, moment - 5000))
    found = checkpoints.newest_run(root)
    assert found.path == run
    assert 0 <= found.age_seconds < 600


def test_where_there_is_none(tmp_path, checkpoint):
    (tmp_path / "runs" / "new" / "checkpoints").mkdir(parents=True)
    (tmp_path / "step-00000001").mkdir()
    for path, words in {
        tmp_path / "nowhere": "no checkpoint at",
        checkpoint / "config.json": "is a file",
        tmp_path / "runs" / "new": "no complete checkpoint yet",
        tmp_path / "step-00000001": "half-written",
        tmp_path / "runs": "is not a checkpoint",
    }.items():
        with pytest.raises(CheckpointError, match=words) as caught:
            checkpoints.load(path)
        assert caught.value.hint
    for root in (tmp_path / "runs", tmp_path / "absent"):
        with pytest.raises(CheckpointError) as caught:
            checkpoints.newest_run(root)
        assert caught.value.hint == "catlipctl pretrain"
    with pytest.raises(CheckpointError, match="no training state"):
        checkpoints.read_state(checkpoints.write(tmp_path / "a", tower=_tiny(), config={}), BaseModel)


def _tiny() -> Tower:
    return models.create(ModelSettings(name="resnet10t"), num_classes=2)
