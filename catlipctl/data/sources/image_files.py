"""Images that are files of their own, with captions or labels said by a listing or by folder names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from catlipctl.data.sample import Sample
from catlipctl.data.sources.faults import MAX_IMAGE_BYTES


class ImageFileSource:
    """One sample per image file.

    paths: as written, relative ones from `root`. captions: one tuple a sample, or None where there are none.
    A file that is missing, unreadable or over 256 MiB is a sample whose image is None.
    """

    shards = 0

    def __init__(
        self,
        name: str,
        root: Path,
        paths: Sequence[str],
        *,
        captions: Sequence[Sequence[str]] | None = None,
        labels: Sequence[str | None] | None = None,
        faults: Mapping[str, int],
        fingerprint: str,
    ) -> None:
        self.name = name
        self.faults = faults
        self.fingerprint = fingerprint
        self._root = root
        # Here, because who only counts or reads a vocabulary need not wait for it.
        import pyarrow as pa

        # Arrow arrays: less memory than Python strings, and forked workers share it (no reference counts).
        self._paths = pa.array(paths, pa.large_string())
        self._captions = None if captions is None else pa.array(captions, pa.large_list(pa.large_string()))
        self._labels = None if labels is None else pa.array(labels, pa.string()).dictionary_encode()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        path = self._paths[index].as_py()
        return Sample(
            key=path,
            image=read_image(self._root / path),
            captions=() if self._captions is None else tuple(self._captions[index].as_py()),
            label=None if self._labels is None else self._labels[index].as_py(),
        )

    def captions(self) -> Iterator[tuple[str, ...]]:
        """The captions of all samples in storage order."""
        if self._captions is None:
            yield from (() for _ in range(len(self)))
        else:
            yield from (tuple(texts.as_py()) for texts in self._captions)

    def labels(self) -> list[str | None]:
        """The class label of every sample in storage order."""
        return [None] * len(self) if self._labels is None else self._labels.to_pylist()


def read_image(path: Path) -> bytes | None:
    """The bytes of an image file; None where it cannot be read or is over 256 MiB."""
    try:
        with path.open("rb", buffering=0) as stream:
            image = stream.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError):
        return None
    return image if image is not None and len(image) <= MAX_IMAGE_BYTES else None
