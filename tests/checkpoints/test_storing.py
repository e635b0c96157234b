"""Our safetensors files against the library's, byte for byte; and what is hashed on the way."""

import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import _TYPES, load, save
from torch import Tensor

from catlipctl.checkpoints.storing import KINDS, store
from catlipctl.checkpoints.writing import KIND_OF, save_tensors, tensor_file


def written(tensors: dict[str, Tensor]) -> bytes:
    return b"".join(tensor_file(tensors))


def numbers(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_every_type_is_written_as_the_library_writes_it() -> None:
    assert {kind: dtype for dtype, kind in KIND_OF.items()}.items() <= _TYPES.items()
    assert set(KIND_OF.values()) <= set(KINDS)
    tensors = {f"{number:02d}": numbers(dtype, 3) for number, dtype in enumerate(KIND_OF)}
    assert written(tensors) == save(tensors, metadata={"format": "pt"})


@given(
    st.dictionaries(
        st.text(max_size=6).filter(lambda name: name.isprintable() and name != "__metadata__"),
        st.tuples(st.sampled_from([*KIND_OF]), st.lists(st.integers(0, 3), max_size=3)),
        max_size=5,
    )
)
def test_any_names_and_shapes_are_written_as_the_library_writes_them(
    made: dict[str, tuple[torch.dtype, list[int]]],
) -> None:
    tensors = {name: numbers(dtype, *shape) for name, (dtype, shape) in made.items()}
    content = written(tensors)
    assert content == save(tensors, metadata={"format": "pt"})
    assert (int.from_bytes(content[:8], "little")) % 8 == 0


def test_tied_transposed_and_strided_tensors_come_back_as_they_read(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    pictures = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    tensors = {"a": base, "tied": base, "t": base.t(), "some": base[::2, 1:], "last": pictures}
    save_tensors(tensors, tmp_path / "file")
    found = load((tmp_path / "file").read_bytes())
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("size", [0, 1, 2**22, 2**22 + 1])
def test_size_and_hash_are_those_of_the_file(tmp_path: Path, size: int) -> None:
    content = torch.randint(0, 256, (size,), dtype=torch.uint8).numpy().tobytes()
    entry = store(tmp_path / "file", [content[:100], memoryview(content)[100:]])
    assert (tmp_path / "file").read_bytes() == content
    assert (entry.bytes, entry.sha256) == (size, hashlib.sha256(content).hexdigest())
