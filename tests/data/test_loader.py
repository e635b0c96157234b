"""The loader: pieces, shares, sizes, resuming, workers, replacement of the unreadable, and its memory."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from catlipctl.data.batch import Batch
from catlipctl.data.loader import Loader, chunk_rows, shared_memory_bytes
from catlipctl.data.order import Order
from catlipctl.data.sample import Sample
from catlipctl.data.transform import TrainTransform
from catlipctl.data.workers import in_thread
from catlipctl.errors import DataError, OutOfMemory
from catlipctl.settings.data import Augmentation
from catlipctl.training.steps import Length, Sizes, StepSchedule, schedule


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
TRANSFORM = TrainTransform(Augmentation(), 1)


def collate(samples: Sequence[Sample], positions: np.ndarray) -> dict[str, torch.Tensor]:
    """Each caption's number if it is below forty, in the sparse form; and where each sample stands."""
    ids = [[int(c) for c in sample.captions if int(c) < 40] for sample in samples]
    return {
        "classes": torch.tensor([i for one in ids for i in one], dtype=torch.int64),
        "counts": torch.tensor([len(one) for one in ids], dtype=torch.int64),
        "positions": torch.from_numpy(positions),
    }


def steps_of(rows: int = 16, samples: int = 90, sizes: Sizes | None = None) -> StepSchedule:
    found = schedule(Length(samples=samples), rows, base_size=8, sizes=sizes, seed=4)
    assert found is not None
    return found


def load(
    source: Pictures = SOURCE,
    steps: StepSchedule | None = None,
    rank: int = 0,
    world: int = 1,
    device_batch: int | None = None,
    first: int = 0,
    workers: int = 0,
) -> list[list[Batch]]:
    steps = steps or steps_of()
    loader = Loader(source, Order(len(source), 3), TRANSFORM, collate, workers)
    pieces = ((step, steps.pieces(step, rank, world, device_batch)) for step in steps.since(first))
    return list(loader(pieces))


def rows_of(batches: Sequence[Batch]) -> list[tuple[object, ...]]:
    """Each row that counts: position, sample, size, pixels and classes."""
    found: list[tuple[object, ...]] = []
    for batch in batches:
        ends = batch.targets["counts"].cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        for row in range(batch.counted):
            classes = batch.targets["classes"][starts[row] : ends[row]].tolist()
            pixels = batch.images[row].numpy().tobytes()
            position = int(batch.positions[row])
            assert position == int(batch.targets["positions"][row])
            found.append((position, int(batch.samples[row]), batch.images.shape[-1], pixels, tuple(classes)))
    return found


def test_a_batch_is_what_order_transform_and_collator_say() -> None:
    batches = [batch for pieces in load() for batch in pieces]
    assert [len(batch) for batch in batches] == [16] * 6
    visited = Order(50, 3).take(0, 96).tolist()
    for batch in batches:
        assert batch.images.shape == (16, 3, 8, 8)
        assert batch.images.dtype == torch.uint8
        for position, sample, _, pixels, classes in rows_of([batch]):
            assert sample == visited[position]
            expected = TRANSFORM(SOURCE.images[sample] or b"", position, 8)
            assert pixels == np.ascontiguousarray(expected.transpose(2, 0, 1)).tobytes()
            assert classes == tuple(c for c in (sample, sample + 1) if c < 40)


SIZES = Sizes(min=16, max=48, multiple=8)


def multi_scale() -> StepSchedule:
    found = schedule(Length(steps=200), 13, base_size=24, sizes=SIZES, seed=9)
    assert found is not None
    return found


WHOLE: list[tuple[object, ...]] = []


def whole() -> list[tuple[object, ...]]:
    if not WHOLE:
        WHOLE.extend(rows_of([batch for pieces in load(steps=multi_scale()) for batch in pieces]))
    return WHOLE


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize(("workers", "device_batch"), [(0, None), (0, 1), (2, 3)])
def test_a_multi_scale_run_laid_end_to_end_is_the_same_however_it_is_cut(
    world: int, workers: int, device_batch: int | None
) -> None:
    steps = multi_scale()
    assert len({size for _, _, size, *_ in whole()}) == 5
    ranks = [load(SOURCE, steps, rank, world, device_batch, workers=workers) for rank in range(world)]
    assert rows_of([b for step in range(200) for rank in ranks for b in rank[step]]) == whole()
    assert {len({len(rank[step]) for rank in ranks}) for step in range(200)} == {1}


@pytest.mark.parametrize("first", [1, 77, 199])
def test_a_resumed_run_goes_on_with_the_same_rows(first: int) -> None:
    steps = multi_scale()
    resumed = rows_of([batch for pieces in load(steps=steps, first=first) for batch in pieces])
    assert resumed == whole()[steps.samples(first) :]


def test_an_empty_piece_is_a_row_that_does_not_count() -> None:
    steps = steps_of(rows=9, samples=9)
    pieces = [load(steps=steps, rank=rank, world=2, device_batch=1)[0] for rank in range(2)]
    assert [[batch.counted for batch in rank] for rank in pieces] == [[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert [len(batch) for rank in pieces for batch in rank] == [1] * 10
    assert sorted(int(b.positions[0]) for rank in pieces for b in rank if b.counted) == list(range(9))


def test_loading_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    load(workers=1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_gives_way_to_the_next_readable_one(workers: int) -> None:
    images = list(SOURCE.images)
    images[10], images[11], images[49] = b"damaged", None, png(49)[:60]
    stands_in = {10: 12, 11: 12, 49: 0}
    steps = steps_of(rows=25, samples=50)
    batches = [batch for pieces in load(Pictures(images), steps, workers=workers) for batch in pieces]
    wanted = Order(50, 3).take(0, 50).tolist()
    assert sum(b.replaced for b in batches) == 3
    assert [sample for _, sample, *_ in rows_of(batches)] == [stands_in.get(s, s) for s in wanted]
    for _, sample, _, _, classes in rows_of(batches):
        assert classes == tuple(c for c in (sample, sample + 1) if c < 40)


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_unreadable_images_is_an_error_with_its_hint(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        load(Pictures([b"damaged"] * 300, name="broken.tar"), workers=workers)
    assert caught.value.message.startswith("broken.tar: over 100 unreadable images in a row from sample ")
    assert caught.value.hint == "look at the source with: catlipctl data inspect --data broken.tar"


@pytest.mark.parametrize("size", [32, 128, 224, 320, 512, 1280])
def test_sixteen_workers_hold_less_than_a_gibibyte_whatever_the_batch(size: int) -> None:
    assert 1 <= chunk_rows(size) <= 64
    assert shared_memory_bytes(16, size) <= 2**30
    assert shared_memory_bytes(0, size) == 0


def resident_shared_memory() -> int:
    status = os.statvfs("/dev/shm")
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.alone
def test_what_is_held_is_within_the_stated_bound() -> None:
    """A rank's share of 512 images at 96 px by two workers, which are let to run ahead as far as they can."""
    steps = schedule(Length(steps=4), 512, base_size=96)
    assert steps is not None
    loader = Loader(SOURCE, Order(50, 3), TRANSFORM, collate, 2)
    batches = loader((step, steps.pieces(step, 0, 1)) for step in steps.since(0))
    before, most = resident_shared_memory(), 0
    for _ in batches:
        most = max(most, resident_shared_memory() - before)
    assert 0 < most <= shared_memory_bytes(2, 96) + 2**20
    del batches
    assert resident_shared_memory() - before < 2**20


def test_shared_memory_that_is_full_is_an_error_in_the_worker_not_a_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    steps = schedule(Length(steps=1), 64, base_size=96)
    with pytest.raises(OutOfMemory, match="shared memory is full") as caught:
        load(steps=steps, workers=1)
    assert "data.workers" in caught.value.hint


def test_a_worker_that_is_killed_says_so() -> None:
    steps = steps_of()
    loader = Loader(SOURCE, Order(50, 3), killed, collate, 1)  # type: ignore[arg-type]
    with pytest.raises(OutOfMemory, match="worker process was killed"):
        list(loader((step, steps.pieces(step, 0, 1)) for step in steps.since(0)))


def killed(image: bytes, position: int, size: int) -> np.ndarray:  # noqa: ARG001
    os.kill(os.getpid(), 9)
    raise AssertionError


def test_items_are_made_in_a_thread_one_ahead_and_errors_come_as_they_were() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            made.append(number)
            yield number
        raise DataError("the end")

    taken = in_thread(items())
    assert next(taken) == 0
    assert next(taken) == 1
    assert next(taken) == 2
    assert made == [0, 1, 2]
    with pytest.raises(DataError, match="the end"):
        next(taken)
