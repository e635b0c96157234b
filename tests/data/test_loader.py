"""The loader: shares, resuming, workers, replacement of the unreadable, and sparse labels."""

import io
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from catlipctl.data.batch import Batch
from catlipctl.data.decode import decode
from catlipctl.data.loader import Loader
from catlipctl.data.order import Order
from catlipctl.data.sample import Sample
from catlipctl.data.transform import Augmentation, Preprocessing, train_transform
from catlipctl.errors import DataError


def png(index: int) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(index).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


@dataclass
class Pictures:
    """A source of noise; sample i has the captions `i` and `i + 1`."""

    images: list[bytes | None]
    name: str = "pictures"
    fingerprint: str = ""
    shards: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), self.images[index], (str(index), str(index + 1)))

    def captions(self) -> Iterator[tuple[str, ...]]:
        return (self[i].captions for i in range(len(self)))

    def labels(self) -> list[str | None]:
        return [None] * len(self)


SOURCE = Pictures([png(i) for i in range(50)])
TRANSFORM = train_transform(Preprocessing(8), Augmentation(), seed=1)


def below_forty(captions: tuple[str, ...]) -> list[int]:
    return sorted({int(caption) for caption in captions if int(caption) < 40})


def load(source: Pictures = SOURCE, **options) -> list[Batch]:
    options = {"global_batch": 16, "stop": 90, **options}
    return list(Loader(source, Order(len(source), 3), TRANSFORM, below_forty, **options))


def same(a: Batch, b: Batch) -> bool:
    tensors = ("images", "rows", "classes", "samples")
    return all(torch.equal(getattr(a, t), getattr(b, t)) for t in tensors) and a.position == b.position


def test_a_batch_is_what_order_transform_and_encoder_say() -> None:
    batches = load(with_captions=True)
    assert [len(b) for b in batches] == [16, 16, 16, 16, 16, 10]
    visited = Order(50, 3).take(0, 90)
    for batch in batches:
        assert batch.images.shape == (len(batch), 3, 8, 8)
        assert batch.images.dtype == torch.float32
        assert batch.samples.tolist() == visited[batch.position : batch.position + len(batch)].tolist()
        pairs = [(row, c) for row, s in enumerate(batch.samples.tolist()) for c in (s, s + 1) if c < 40]
        assert list(zip(batch.rows.tolist(), batch.classes.tolist(), strict=True)) == pairs
        assert batch.unlabelled == sum(s >= 40 for s in batch.samples.tolist())
        assert batch.captions == tuple((str(s), str(s + 1)) for s in batch.samples.tolist())
        for row, sample in enumerate(batch.samples.tolist()):
            image = decode(SOURCE.images[sample] or b"")
            assert torch.equal(batch.images[row], TRANSFORM(image, batch.position + row))
    assert load()[0].captions is None


@pytest.mark.parametrize("world", [2, 3, 7])
def test_shares_laid_end_to_end_are_the_global_batch(world: int) -> None:
    whole = load(stop=66)
    ranks = [load(stop=66, rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        shares = [rank[step] for rank in ranks]
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        assert torch.equal(torch.cat([s.images for s in shares]), batch.images)
        assert torch.equal(torch.cat([s.classes for s in shares]), batch.classes)
        assert torch.equal(torch.cat([s.samples for s in shares]), batch.samples)
        starts = np.cumsum([0, *sizes])[:-1]
        assert [s.position for s in shares] == [batch.position + start for start in starts]
        rows = torch.cat([s.rows + int(start) for s, start in zip(shares, starts, strict=True)])
        assert torch.equal(rows, batch.rows)


def test_starting_at_a_position_is_skipping_to_it() -> None:
    for one, other in zip(load(start=48), load()[3:], strict=True):
        assert same(one, other)


def test_any_number_of_workers_gives_the_same_batches() -> None:
    here = load()
    for workers in (1, 2):
        there = load(workers=workers)
        assert len(there) == len(here)
        assert all(map(same, here, there))


def test_an_endless_loader_starts_anew_each_time_and_leaves_the_generator_alone() -> None:
    loader = Loader(SOURCE, Order(50, 3), TRANSFORM, below_forty, global_batch=16, start=16)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for _ in range(2):
        batches = iter(loader)
        taken = [next(batches) for _ in range(8)]
        assert [b.position for b in taken] == list(range(16, 144, 16))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_gives_way_to_the_next_readable_one(workers: int) -> None:
    images = list(SOURCE.images)
    images[10], images[11], images[49] = b"damaged", None, png(49)[:60]
    source = Pictures(images)
    stands_in = {10: 12, 11: 12, 49: 0}
    batches = load(source, stop=50, workers=workers, with_captions=True)
    wanted = Order(50, 3).take(0, 50).tolist()
    assert sum(b.replaced for b in batches) == 3
    assert torch.cat([b.samples for b in batches]).tolist() == [stands_in.get(s, s) for s in wanted]
    for batch in batches:
        assert batch.captions is not None
        assert [c[0] for c in batch.captions] == [str(s) for s in batch.samples.tolist()]


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_unreadable_images_is_an_error_with_its_hint(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        load(Pictures([b"damaged"] * 300, name="broken.tar"), workers=workers)
    assert caught.value.message.startswith("broken.tar: over 100 unreadable images in a row from sample ")
    assert caught.value.hint == "look at the source with `catlipctl data inspect broken.tar`"


def test_a_rank_may_have_no_row_of_the_last_batch() -> None:
    *_, last = load(stop=17, rank=0, world=2)
    assert last.images.shape == (0, 3, 8, 8)
    assert last.rows.dtype == torch.int64
    assert last.samples.dtype == torch.int64


def test_batches_survive_pickling() -> None:
    batch = load(stop=16)[0]
    assert same(pickle.loads(pickle.dumps(batch)), batch)
