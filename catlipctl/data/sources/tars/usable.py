"""Which samples of tars can be used for what is needed; and where none can, why not."""

from collections import Counter
from collections.abc import Sequence

from catlipctl.data.sample import Need
from catlipctl.data.sources import faults as kinds
from catlipctl.data.sources.faults import Faults
from catlipctl.data.sources.storage import File
from catlipctl.data.sources.tars.columns import Cell, Key, fields
from catlipctl.data.sources.tars.index import TarIndex
from catlipctl.data.sources.tars.run import Plan, read_all
from catlipctl.data.sources.tars.samples import Samples
from catlipctl.errors import DataError

_PROBED = 32


def count_damage(files: Sequence[File], index: TarIndex, found: Faults) -> None:
    """Count the shards that are not whole, or nothing at all."""
    for shard, (kind, at) in sorted(index.damage.items()):
        file = files[shard]
        if index.shards[shard, 0] or at:
            found.add(kind, 1, f"{file.path} at byte {at:,} of {file.size:,}")
        else:
            found.add(kinds.UNREADABLE, 1, f"{file.path}: {'not a tar' if file.size else 'empty file'}")


def usable(
    samples: Samples, needed: Sequence[bool], lacking: str, caption: Sequence[bool], found: Faults
) -> list[bool]:
    """The signatures with an image and what is `needed`; what is left out is counted.

    needed, caption: whether each signature has them. lacking: the fault of an image without what it needs.
    """
    image = [cells.image.has for cells in samples.cells]
    large = [cells.large for cells in samples.cells]
    both = list(zip(image, large, caption, needed, strict=True))
    for kind, mask in (
        (kinds.NO_IMAGE, [caption and not image for image, _, caption, _ in both]),
        (kinds.LARGE_IMAGE, large),
        (lacking, [image and not large and not needed for image, large, _, needed in both]),
    ):
        if count := samples.count(mask):
            found.add(kind, count, samples.where(mask))
    return [image and not large and needed for image, large, _, needed in both]


def keep_usable(name: str, samples: Samples, need: Need, found: Faults) -> None:
    """Keep the samples that have what is needed; what is left out is counted.

    Raises:
        DataError: none is left.
    """
    asked, cells = need, samples.cells
    if need == "any":
        both = [one.image.has and one.has_caption for one in cells]
        need = "captions" if samples.count(both) else "labels"
    caption = [one.has_caption for one in cells]
    needed, lacking = {
        "captions": (caption, kinds.NO_CAPTION),
        "labels": ([one.label.has for one in cells], kinds.NO_LABEL),
        "images": ([True] * len(cells), ""),
    }[need]
    kept = usable(samples, needed, lacking, caption, found)
    if not samples.count(kept):
        raise _none_usable(name, asked, samples, found)
    samples.keep(kept)


def check_fields(
    name: str, samples: Samples, captions: Sequence[Sequence[Key]], label: Sequence[Key] | None
) -> None:
    """Look into a few JSON members for the fields that were asked for: a misspelt one would give nothing.

    Raises:
        DataError: none of the looked-at members has the field.
    """
    columns = [
        ([cells.captions[n] for cells in samples.cells], "--caption-key") for n in range(len(captions))
    ]
    columns += [([cells.label for cells in samples.cells], "--label-key")] if label else []
    for column, option in columns:
        here = [cell.has and cells.image.has for cell, cells in zip(column, samples.cells, strict=True)]
        keys = [cell.key for cell, there in zip(column, here, strict=True) if there and cell.key]
        if not keys or any(key.field is None for key in keys):
            continue
        seen = _fields_seen(samples, column, here)
        if not any(key.field in seen for key in keys):
            there = ", ".join(f"{name} ({count})" for name, count in sorted(seen.items())[:40])
            wanted = " or ".join(str(key) for key in dict.fromkeys(keys))
            raise DataError(
                f"{name} has no {wanted}: the fields in {_PROBED} JSON members are {there}",
                f"choose one with {option} {keys[0].extension}:FIELD",
            )


def _fields_seen(samples: Samples, column: Sequence[Cell], here: Sequence[bool]) -> Counter[str]:
    """In how many of some JSON members each field is, of samples whose signatures are in `here`."""
    signatures = samples.index.signatures
    plans = [Plan.of(signature, texts=[cell]) for signature, cell in zip(signatures, column, strict=True)]
    seen: Counter[str] = Counter()
    for place in samples.spread(here, _PROBED):
        for members in read_all([place], plans):
            document = fields(members.get(column[place.signature].member, b""))
            seen.update(field for field, value in document.items() if value is not None)
    return seen


def no_samples(name: str, files: Sequence[File], found: Faults) -> DataError:
    """Why shards hold nothing that is a sample."""
    what = (
        f"{name} holds no samples"
        if len(files) == 1
        else f"the {len(files)} shards of {name} hold no samples"
    )
    if found:
        return DataError(f"{what}: {found}", "fetch it again: nothing in it can be read")
    return DataError(
        f"{what}: no member is named KEY.EXTENSION", "SOURCE wants webdataset shards: KEY.jpg, KEY.txt, ..."
    )


def _none_usable(name: str, need: Need, samples: Samples, found: Faults) -> DataError:
    """Why no sample is left: what was looked for, what is there, and the option that chooses."""
    counts: Counter[str] = Counter()
    for signature, count in zip(samples.index.signatures, samples.counts.tolist(), strict=True):
        for extension, _ in signature.members:
            counts[extension] += count
    there = ", ".join(f"{extension} ({count:,})" for extension, count in sorted(counts.items())[:40])
    there += f"; {found}" if found else ""
    if not samples.count([cells.image.has for cells in samples.cells]):
        looked = ", ".join(str(key) for key in samples.keys.image)
        return DataError(
            f"{name} has no images: its shards hold {there}; looked for {looked}",
            "say which extension is the image: --image-key EXTENSION",
        )
    if need == "labels":
        return DataError(
            f"{name} has images but no labels: its shards hold {there}; looked for {samples.keys.label[0]}",
            "say where the class is: --label-key cls or --label-key json:FIELD",
        )
    looked = ", ".join(str(key) for column in samples.keys.captions for key in column)
    return DataError(
        f"{name} has images but no captions to them: its shards hold {there}; looked for {looked}",
        "say where the caption is: --caption-key EXTENSION or --caption-key json:FIELD",
    )
