"""Do the cores decode as many images as the GPUs take?"""

import io
import math
import time

from catlipctl.doctor.check import Check
from catlipctl.results import cores

STEP_OPERATIONS = 6 * 17.58e9
"""Of ViT-B/16 at 224 px a training image: 17.58 G multiply-adds forward [timm's model card], thrice that with
backward, and two operations each."""
USED = 0.5
"""The share of the peak that a good run reaches."""
WIDTH, HEIGHT, SIZE = 512, 384, 224
PROBE_SECONDS = 0.5


def feeding() -> Check:
    """Images a second that the cores decode, against those that ViT-B/16's steps take on the GPUs here."""
    import torch

    count = torch.cuda.device_count()
    name = torch.cuda.get_device_name(0) if count else ""
    return verdict(decoded_a_second(), cores(), count, name)


def verdict(of_a_core: float, cores: int, gpus: int, device: str) -> Check:
    """What it means that each of so many cores decodes `of_a_core` images a second. device: a GPU's name."""
    import torch

    from catlipctl.training.utilisation import published_peak

    name = "feeding the devices"
    found = f"{cores} core{'s' * (cores > 1)} decode about {round(of_a_core * cores, -1):,.0f} images/s"
    found += f" (JPEGs of {WIDTH} x {HEIGHT} px, cropped to {SIZE})"
    peak = published_peak(device, torch.bfloat16)
    if not gpus or peak is None:
        of_each = f": {of_a_core * cores / gpus:,.0f} for each of {gpus} GPUs" if gpus else ""
        return Check(name=name, status="ok", found=found + of_each)
    taken = peak.flops * USED / STEP_OPERATIONS
    found += f"; {gpus} x {device} take {gpus * taken:,.0f} in ViT-B/16 steps at half the published peak"
    wanted = math.ceil(taken / of_a_core)
    if cores >= gpus * wanted:
        return Check(name=name, status="ok", found=found)
    mend = (
        f"take {wanted} cores for each GPU, not {cores / gpus:.3g}, store images smaller, or train a larger "
        "model; catlipctl data inspect times your own data"
    )
    return Check(name=name, status="warning", found=found, mend=mend)


def decoded_a_second(seconds: float = PROBE_SECONDS) -> float:
    """Training crops a second that one core makes of a made-up JPEG."""
    import torch

    from catlipctl.data.transform import TrainTransform
    from catlipctl.settings.data import Augmentation

    image, transform, made = _picture(), TrainTransform(Augmentation(), seed=0), 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        transform(image, 0, SIZE)
        start = time.process_time()
        while (taken := time.process_time() - start) < seconds:
            made += 1
            transform(image, made, SIZE)
    finally:
        torch.set_num_threads(threads)
    return made / taken


def _picture() -> bytes:
    """A JPEG with the detail of a photo: noise at several scales."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for cells, strength in ((4, 60), (16, 30), (64, 15), (256, 6)):
        noise = draw.integers(0, 256, (cells, cells, 3), np.uint8)
        pixels += (np.asarray(Image.fromarray(noise).resize((WIDTH, HEIGHT))) / 128.0 - 1) * strength
    packed = io.BytesIO()
    Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8)).save(packed, "JPEG", quality=90)
    return packed.getvalue()
