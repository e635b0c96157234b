"""Figures and tables as files, and as data URIs inside a page."""

import base64
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from catlipctl import files
from catlipctl.printable import one_line, printable
from catlipctl.reports.style import DARK, INK, SETTINGS, for_phones, without_titles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["png", "svg"]


class Embedded(NamedTuple):
    """A figure inside a page: data URIs for a wide screen and for a phone, and what it is called."""

    wide: str
    narrow: str
    title: str
    subtitle: str


def save(figure: "Figure", stem: str | Path, kinds: Sequence[Kind] = ("png", "svg")) -> list[Path]:
    """Write `STEM.KIND` of each kind, atomically; return their paths."""
    stem = Path(stem)
    written = []
    for kind in kinds:
        path = stem.with_name(f"{stem.name}.{kind}")
        with files.replacing(path) as temporary:
            temporary.write_bytes(_rendered(figure, kind))
        written.append(path)
    return written


def embed(draw: "Callable[[], Figure]") -> Embedded:
    """What `draw` draws, at two widths, as data URIs (SVG: sharp at any size); its titles as text."""
    wide = draw()
    with for_phones():
        narrow = draw()
    title, subtitle = without_titles(wide)
    without_titles(narrow)
    return Embedded(_data_uri(wide), _data_uri(narrow), title, subtitle)


def save_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows with the same columns as CSV, atomically."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(path, text.getvalue())
    return path


def _data_uri(figure: "Figure") -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(_rendered(figure, "svg")).decode("ascii")


def _rendered(figure: "Figure", kind: Kind) -> bytes:
    import matplotlib
    from matplotlib.text import Text

    for artist in figure.findobj():
        # A label is a name and no formula, and a control character is none of XML's.
        if isinstance(artist, Text):
            artist.set_parse_math(False)
            artist.set_text(printable(artist.get_text()))
        if (name := artist.get_gid()) is not None:
            artist.set_gid(one_line(name))
    stream = io.BytesIO()
    # Without a date, the same result gives the same bytes.
    metadata = {"Date": None} if kind == "svg" else None
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(stream, format=kind, metadata=metadata)
    return _with_dark_scheme(stream.getvalue()) if kind == "svg" else stream.getvalue()


def _with_dark_scheme(svg: bytes) -> bytes:
    """The SVG with a style that changes the house's colours where the reader prefers a dark scheme.

    Matplotlib writes colours into each element's style, so that is where they are looked for.
    """
    rules = [f"svg{{fill:{DARK[INK]}}}"]  # what is black says no colour at all
    for light, dark in DARK.items():
        rules += [
            f'[style*="{kind}: {light.lower()}"]{{{kind}:{dark}!important}}' for kind in ("fill", "stroke")
        ]
    scheme = f"@media (prefers-color-scheme: dark){{{' '.join(rules)}}}"
    return svg.replace(b"</style>", f"\n{scheme}</style>".encode(), 1)
