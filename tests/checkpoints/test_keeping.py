"""Which checkpoints stay, whatever a kill has left."""

import shutil
from pathlib import Path

from catlipctl import checkpoints
from catlipctl.checkpoints.keeping import discard, prune, sweep


def test_what_a_kill_left_goes_with_the_next(tmp_path: Path, resnet: checkpoints.Checkpoint) -> None:
    for step, kept in ((1, True), (2, False), (3, False), (4, True), (5, False), (6, False), (9, True)):
        checkpoints.write_step(tmp_path, step, tower=resnet, config={}, state_json={"kept": kept})
    folder = tmp_path / "checkpoints"
    half = folder / "step-00000004" / "model.safetensors"
    half.unlink()  # not complete: nobody's to count
    aside = shutil.copytree(folder / "step-00000001", folder / ".step-00000001.0123.tmp")
    # Two that are not kept are there: a process was killed between writing one and taking the other away.
    prune(folder / "step-00000006", None, None)
    assert aside.exists()
    sweep(folder)
    left = sorted(path.name[-1] for path in folder.glob("step-*"))
    assert left == ["1", "4", "6", "9"], "9 is of a run that was set back"
    checkpoints.verify(folder / "step-00000006")
    discard(folder / "step-00000004")
    assert sorted(path.name for path in folder.iterdir())[0] == "latest"
