"""Cores against what GPUs take."""

import io

from PIL import Image

from catlipctl.doctor import feeding


def test_cores_that_cannot_feed_the_gpus_are_a_warning() -> None:
    few = feeding.verdict(400, cores=16, gpus=8, device="NVIDIA H100 80GB HBM3")
    assert few.status == "warning"
    # 989 TFLOP/s, half of it used, over 105.5 GFLOP an image: 4,688 images/s, 12 cores of 400.
    assert few.mend.startswith("take 12 cores for each GPU, not 2,")
    assert feeding.verdict(400, cores=96, gpus=8, device="NVIDIA H100 80GB HBM3").status == "ok"
    assert feeding.verdict(400, cores=8, gpus=2, device="NVIDIA A100-SXM4-80GB").status == "ok"
    assert feeding.verdict(400, cores=8, gpus=4, device="unheard of").found.endswith("800 for each of 4 GPUs")
    assert feeding.verdict(400, cores=2, gpus=0, device="").found.startswith("2 cores decode about 800 ")


def test_a_core_decodes_the_made_up_picture() -> None:
    with Image.open(io.BytesIO(feeding._picture())) as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 384))
        # As many bytes as a photo: neither flat nor mere noise.
        assert 20_000 < len(feeding._picture()) < 120_000
    assert 10 < feeding.decoded_a_second(0.05) < 100_000
