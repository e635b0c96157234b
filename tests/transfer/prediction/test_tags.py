"""Predictions in files: of what folders hold, against PIL; of shards; killed with SIGKILL and gone on."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.data import EvalTransform
from catlipctl.errors import DataError, UsageError
from catlipctl.transfer import prediction
from catlipctl.transfer.prediction import Choice, open_inputs, write_tags

from ..conftest import tower


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize(size)


@pytest.fixture
def photos(tmp_path: Path) -> dict[Path, Image.Image | None]:
    """Files of every trouble, and what PIL makes of each: an upright RGB picture, or None."""
    folder = tmp_path / "photos"
    folder.mkdir()
    found: dict[Path, Image.Image | None] = {}

    def save(name: str, image: Image.Image, **options: object) -> None:
        image.save(folder / name, **options)
        found[folder / name] = ImageOps.exif_transpose(Image.open(folder / name))

    plain = picture(0)
    save("plain.jpg", plain)
    save("grey.jpg", plain.convert("L"))
    save("cmyk.jpg", plain.convert("CMYK"))
    save("moving.gif", plain, save_all=True, append_images=[picture(1)])
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.jpg", picture(2, (64, 40)), exif=exif)
    assert (found[folder / "turned.jpg"] or plain).size == (40, 64)
    save("wide.png", picture(3, (20_000, 30)))
    deep = np.asarray(plain.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    found[folder / "deep.png"] = plain.convert("L")
    save("palette.png", plain.quantize(16), transparency=0)
    white = Image.new("RGBA", plain.size, "white")
    clear = Image.open(folder / "palette.png").convert("RGBA")
    found[folder / "palette.png"] = Image.alpha_composite(white, clear)
    (folder / "broken.jpg").write_bytes((folder / "plain.jpg").read_bytes()[:200])
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("1", (20_000, 15_000)).save(folder / "huge.png")
    return found | dict.fromkeys(folder / name for name in ("broken.jpg", "empty.jpg", "huge.png"))


def test_each_photo_is_answered_as_pil_sees_it_or_named_with_its_fault(
    checkpoint: Checkpoint, photos: dict[Path, Image.Image | None], tmp_path: Path
) -> None:
    expects = checkpoint.tower.preprocessing
    result = prediction.predict(checkpoint, [tmp_path / "photos"], 8)
    answers = {Path(image.image): image for image in result.images}
    assert answers.keys() == photos.keys()
    for path, upright in photos.items():
        labels = {label.label: label.probability for label in answers[path].labels}
        if upright is None:
            assert path.name in (answers[path].fault or "")
            assert not labels
            continue
        lossless = io.BytesIO()
        upright.convert("RGB").save(lossless, "PNG")
        pixels = EvalTransform(expects)(lossless.getvalue(), 0, expects.size)
        with torch.no_grad():
            images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            wanted = checkpoint.tower.module(expects.prepared(images))[0].sigmoid()
        assert checkpoint.vocabulary is not None
        assert [labels[key] for key in checkpoint.vocabulary.keys] == pytest.approx(wanted.tolist(), abs=1e-5)
    assert "not an image: 0 bytes" in (answers[tmp_path / "photos" / "empty.jpg"].fault or "")
    assert "far more than 89,478,485 pixels" in (answers[tmp_path / "photos" / "huge.png"].fault or "")


@pytest.mark.parametrize(("threshold", "top"), [(0.3, None), (0.3, 1), (0.999999, None), (0.0, None)])
def test_a_threshold_keeps_what_is_as_probable(
    checkpoint: Checkpoint, photos: dict[Path, Image.Image | None], threshold: float, top: int | None
) -> None:
    files = [path for path, upright in photos.items() if upright is not None]
    everything = prediction.predict(checkpoint, files, 8).images
    chosen = prediction.predict(checkpoint, files, top, threshold=threshold).images
    for one, all_of_it in zip(chosen, everything, strict=True):
        wanted = [label for label in all_of_it.labels if label.probability >= threshold][:top]
        assert [label.label for label in one.labels] == [label.label for label in wanted]


def shards(folder: Path) -> list[Path]:
    """The same six pictures as a tar and as Parquet, one of them damaged."""
    contents = []
    for seed in range(6):
        body = io.BytesIO()
        picture(seed).save(body, "PNG")
        contents.append(body.getvalue() if seed != 4 else b"no picture")
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number, body in enumerate(contents):
            member = tarfile.TarInfo(f"{number:04d}.png")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    pq.write_table(pa.table({"image": contents}), folder / "some.parquet")
    return [folder / "00000.tar", folder / "some.parquet"]


def test_shards_give_what_their_pictures_give(checkpoint: Checkpoint, tmp_path: Path) -> None:
    tar, parquet = shards(tmp_path)
    (tmp_path / "loose").mkdir()
    for seed in (0, 5):
        picture(seed).save(tmp_path / "loose" / f"{seed}.png")
    out = tmp_path / "tags.jsonl"
    inputs = open_inputs([tar, tmp_path / "loose", parquet])
    result = write_tags(checkpoint, inputs, Choice(top=3), out, workers=2)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (len(rows), result.rows, result.unreadable) == (14, 14, 2)
    loose, tarred, columns = rows[:2], rows[2:8], rows[8:]
    assert [row["source"] for row in tarred] == [str(tar)] * 6
    assert tarred[1]["image"].endswith("0001")
    for one, other in zip(tarred, columns, strict=True):
        assert (one["fault"] is None) == (other["fault"] is None)
    for row, file in ((tarred[0], loose[0]), (tarred[5], loose[1]), (columns[5], loose[1])):
        assert [label["label"] for label in row["labels"]] == [label["label"] for label in file["labels"]]
        found, wanted = ([label["probability"] for label in r["labels"]] for r in (row, file))
        assert found == pytest.approx(wanted, abs=1e-5)
    assert "not an image" in tarred[4]["fault"]

    same = write_tags(checkpoint, inputs, Choice(top=3), tmp_path / "tags.parquet")
    table = pq.read_table(tmp_path / "tags.parquet").to_pylist()
    assert [row["image"] for row in table] == [row["image"] for row in rows]
    assert [[label["label"] for label in row["labels"]] for row in table] == [
        [label["label"] for label in row["labels"]] for row in rows
    ]
    assert same.labels == result.labels
    assert write_tags(checkpoint, inputs, Choice(top=3), tmp_path / "tags.parquet") == same
    assert not list(tmp_path.glob("*.rows.jsonl"))
    # A folder that holds tars alone is a SOURCE; one with pictures is theirs.
    (tmp_path / "tars").mkdir()
    tar.rename(tmp_path / "tars" / "0.tar")
    assert len(open_inputs([tmp_path / "tars"])) == 6
    picture(0).save(tmp_path / "tars" / "own.png")
    assert len(open_inputs([tmp_path / "tars"])) == 1


CLI = (sys.executable, "-m", "catlipctl", "predict")


def started(*arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [*CLI, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_killed_it_goes_on_to_the_rows_of_one_that_was_not(run: Path, tmp_path: Path) -> None:
    count = 1000
    photos = tmp_path / "photos"
    photos.mkdir()
    picture(0, (400, 300)).save(photos / "000.jpg")
    for number in range(1, count):
        os.link(photos / "000.jpg", photos / f"{number:03d}.jpg")
    (photos / "070.jpg").unlink()
    (photos / "070.jpg").write_bytes(b"broken")
    outs = {tmp_path / "tags.jsonl": "tags.jsonl", tmp_path / "tags.parquet": "tags.parquet.rows.jsonl"}
    rows = {out: tmp_path / name for out, name in outs.items()}

    killed = {out: started(photos, "--checkpoint", run, "--out", out, "--workers", 1) for out in outs}
    left = dict(killed)
    while left:
        for out, process in list(left.items()):
            if (rows[out].exists() and rows[out].stat().st_size) or process.poll() is not None:
                os.killpg(left.pop(out).pid, signal.SIGKILL)
        time.sleep(0.01)
    for out, process in killed.items():
        assert process.wait() == -signal.SIGKILL, process.communicate()
        with rows[out].open("ab") as stream:
            stream.write(b'{"image":"half a li')  # as a kill in the midst of a write leaves it
        assert 0 < rows[out].read_bytes().count(b"\n") < count
    loaded = checkpoints.load(run)
    with pytest.raises(UsageError, match="another --threshold"):
        write_tags(loaded, open_inputs([photos]), Choice(threshold=0.5), tmp_path / "tags.jsonl")

    for process in [started(photos, "--checkpoint", run, "--out", out, "--json") for out in outs]:
        answer, said = process.communicate()
        assert process.returncode == 0, said
        assert "goes on after" in said
        result = json.loads(answer)["result"]
        assert (result["rows"], result["unreadable"]) == (count, 1)
        assert "070.jpg" in result["faults"][0]
    for out in outs:
        write_tags(loaded, open_inputs([photos]), Choice(), tmp_path / f"whole{out.suffix}", workers=2)
    assert (tmp_path / "tags.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    tags, whole = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("tags", "whole"))
    assert tags.equals(whole)
    assert not list(tmp_path.glob("*.rows.jsonl"))


def test_a_file_of_another_origin_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for number in (0, 1):
        picture(number).save(tmp_path / f"{number}.png")
    out = tmp_path / "tags.jsonl"
    one = [tmp_path / "0.png"]
    write_tags(checkpoint, open_inputs(one), Choice(), out)
    before = out.read_bytes()
    other = checkpoints.load(checkpoints.write(tmp_path / "c", tower=tower(3), config={}))
    for loaded, images, choice, says in (
        (other, one, Choice(), "another checkpoint"),
        (checkpoint, [tmp_path / "1.png"], Choice(), "other images"),
        (checkpoint, one, Choice(top=2), "another --top"),
    ):
        with pytest.raises(UsageError, match=says):
            write_tags(loaded, open_inputs(images), choice, out)
    own = tmp_path / "own.jsonl"
    own.write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        write_tags(checkpoint, open_inputs(one), Choice(), own)
    with pytest.raises(UsageError, match="no format"):
        write_tags(checkpoint, open_inputs(one), Choice(), tmp_path / "tags.csv")
    assert (out.read_bytes(), own.read_text()) == (before, "mine")
    (tmp_path / "no.png").write_bytes(b"")
    with pytest.raises(DataError, match="no image could be read"):
        write_tags(checkpoint, open_inputs([tmp_path / "no.png"]), Choice(), tmp_path / "none.jsonl")
