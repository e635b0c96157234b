"""What the loader is said to give, and the lever that is named where it gives too little."""

import io

import pytest
import torch
from PIL import Image

from catlipctl.data import Order, open_source
from catlipctl.data.feeding import Sharing, advice, forecast, training_crops
from catlipctl.errors import DataError
from catlipctl.results import cores


@pytest.fixture
def source(tmp_path, write_tar):
    def picture(number: int) -> bytes:
        packed = io.BytesIO()
        Image.new("RGB", (40, 30), (number, 90, 200)).save(packed, "JPEG")
        return packed.getvalue()

    for shard in range(3):
        entries = [(f"{n}.{e}", b) for n in range(10) for e, b in (("jpg", picture(n)), ("txt", b"a"))]
        write_tar(tmp_path / f"{shard}.tar", entries)
    return open_source(tmp_path)


def test_no_advice_up_to_a_tenth():
    assert advice(0.0, workers=0, cores=8) is None
    assert advice(0.1, workers=4, cores=8) is None


@pytest.mark.parametrize(
    ("share", "workers", "cores", "lever"),
    [
        # Two workers keep the device busy half the time: four would all of it.
        (0.5, 2, 8, "data.workers=4"),
        (0.75, 4, 12, "data.workers=12"),
        (0.2, 0, 4, "data.workers=2"),
        (1.0, 1, 4, "data.workers=4"),
        (0.5, 8, 8, "data.decode=fast"),
        (0.5, 0, 1, "data.workers=1"),
        (0.3, 16, 8, "data.window"),
    ],
)
def test_the_lever_is_more_workers_while_there_are_cores(share, workers, cores, lever):
    said = advice(share, workers, cores)
    assert lever in said
    assert f"{100 * share:.0f} % of the time" in said
    assert ("data.workers=" in said) == (workers < cores)


def test_shards_are_enough_or_it_is_said_why_not():
    assert Sharing.of(64, ranks=8, workers=4, window=16).enough
    few = Sharing.of(13, ranks=8, workers=4, window=None)
    assert (few.enough, "for each of 32 workers" in few.said) == (False, True)
    wide = Sharing.of(13, ranks=1, workers=4, window=20)
    assert (wide.enough, "a window of 20 holds them all" in wide.said) == (False, True)
    assert Sharing.of(0, ranks=8, workers=4, window=None).enough


def test_the_loader_is_timed_as_it_trains(source):
    found = forecast(source, size=16, gpus=2, workers=500, window=2, seconds=0.1)
    assert (found.timed, found.cores) == (cores(), cores())
    assert found.images % 16 == 0
    assert found.images_per_second == pytest.approx(found.images / found.seconds)
    document = found.model_dump()
    assert document["per_gpu"] * 2 == pytest.approx(document["per_worker"] * cores())


def test_crops_are_those_of_training(source):
    crops = training_crops(source, Order(len(source), 0), 16, 8, workers=0)
    first, second = next(crops), next(crops)
    assert (first.shape, first.dtype) == ((8, 3, 16, 16), torch.uint8)
    # The red of image n is about n: each crop is of the image that the order visits.
    wanted = [index % 10 for index in Order(len(source), 0).take(8, 8).tolist()]
    red = second.float().mean(dim=(2, 3))[:, 0]
    assert (red - torch.tensor(wanted)).abs().max() < 3


def test_images_that_cannot_be_read_are_no_speed(tmp_path, write_tar):
    write_tar(tmp_path / "a.tar", [("0.jpg", b"none"), ("0.txt", b"a")])
    with pytest.raises(DataError, match="unreadable images in a row"):
        forecast(open_source(tmp_path), size=16, workers=1, seconds=0.1)
