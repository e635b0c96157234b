"""SVGs follow the reader's colour scheme."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from catlipctl import reports
from catlipctl.reports.logs import Logged
from catlipctl.reports.style import DARK, GROUND, INK, MUTED, PALETTE
from catlipctl.vocabulary import Vocabulary

pytest.importorskip("matplotlib")
from matplotlib.text import Text


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    """WCAG 2.2, contrast ratio."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_dark_colours_can_be_seen() -> None:
    ground = DARK[GROUND]
    assert all(contrast(DARK[text], ground) >= 4.5 for text in (INK, MUTED))  # WCAG AA, text
    assert all(contrast(DARK[line], ground) >= 3 for line in PALETTE)  # WCAG AA, graphics


SERIES: list[reports.AccuracyRow] = [{"images_per_class": "5", "acc1": 0.4}]
FIGURES: list[Callable[[], object]] = [
    lambda: reports.step({"CatLIP": {"forward": 0.1, "loss": 0.2}, "CLIP": {"forward": 0.1, "loss": 0.1}}),
    lambda: reports.loss(
        [Logged(step=1, samples=1, loss=2.0, lr=0.1), Logged(step=2, samples=2, loss=1.0, lr=0.1)]
    ),
    lambda: reports.inits({"a": SERIES}, chance=0.1),
]


@pytest.mark.parametrize("draw", FIGURES)
def test_every_colour_of_the_house_is_changed_in_the_dark(draw: Callable[[], object], tmp_path: Path) -> None:
    _, path = reports.save(draw(), tmp_path / "figure")  # type: ignore[arg-type]
    svg = path.read_text()
    ElementTree.fromstring(svg)
    scheme = re.search(r"@media \(prefers-color-scheme: dark\)\{(.*)\}</style>", svg)
    assert scheme
    rules = dict(re.findall(r'\[style\*="((?:fill|stroke): #[0-9a-f]{6})"\]\{(.*?)!important\}', scheme[1]))
    used = set(re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", svg.replace(scheme[0], "")))
    assert used
    assert used <= set(rules)
    for light, dark in DARK.items():
        assert rules[f"fill: {light.lower()}"] == f"fill:{dark}"


def test_an_embedded_figure_is_there_for_two_widths_and_its_titles_are_text() -> None:
    found = reports.embed(lambda: reports.inits({"a": SERIES}, subtitle="runs/demo"))
    assert (found.title, found.subtitle) == ("Where the classifier starts from", "runs/demo")
    wide, narrow = (ElementTree.fromstring(decoded(uri)) for uri in (found.wide, found.narrow))
    sizes = [float(svg.attrib["width"].removesuffix("pt")) for svg in (wide, narrow)]
    assert sizes == pytest.approx([7.4 * 72, 3.6 * 72])
    text = decoded(found.wide)
    assert "prefers-color-scheme: dark" in text
    assert "runs/demo" not in text  # matplotlib writes each text as a comment beside its outlines
    assert "training images a class" in text


EVIL = "cost $\\frac{$ of $x^2$ <script>alert(1)</script> & \x1b[2J\u202e -->"


@pytest.mark.parametrize("name", [EVIL, "b$x$"])
def test_a_label_is_no_formula_no_markup_and_no_control_sequence(name: str, tmp_path: Path) -> None:
    words = Vocabulary((name, "b"), (10, 2), "subword", "1", "s", 3, 0, "occurrences", 0)
    shown: list[str] = []
    for figure in (
        reports.label_frequencies({name: words}),
        reports.sizes_by_threshold({name: words, "b": words}),
    ):
        _, path = reports.save(figure, tmp_path / "figure")
        svg = path.read_text()
        ElementTree.fromstring(svg)
        assert "<script" not in svg
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", svg)
        shown += [text.get_text() for text in figure.findobj(Text)]
    assert any("$" in text for text in shown)


def decoded(uri: str) -> str:
    return base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,"), validate=True).decode()
