"""The figure of the label benchmark draws what was measured."""

import pytest

from catlipctl import reports

pytest.importorskip("matplotlib")

SPEEDS = {
    "corenet": {"cold": 12_000.0, "warm": 200_000.0},
    "subword": {"cold": 5_000.0, "warm": 2_000_000.0},
    "reference": {"cold": 1_000.0, "warm": 1_250.0},
}


def test_bars_are_captions_a_second_on_a_logarithmic_axis() -> None:
    axes = reports.labels(SPEEDS, "29,000 captions").axes[0]
    assert axes.get_xscale() == "log"
    assert [bar.get_width() for bar in axes.patches] == [v for row in SPEEDS.values() for v in row.values()]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(SPEEDS)
    written = [text.get_text() for text in axes.texts]
    assert written == [
        "29,000 captions",
        *("12,000  12 x", "200,000  160 x", "5,000  5.0 x", "2 M  1,600 x", "1,000", "1,250"),
    ]


def test_without_a_reference_nothing_is_compared() -> None:
    axes = reports.labels({"corenet": SPEEDS["corenet"]}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["12,000", "200,000"]
