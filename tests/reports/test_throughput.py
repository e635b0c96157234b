"""The figures of the label and loader benchmarks draw what was measured."""

import pytest

from catlipctl import reports

pytest.importorskip("matplotlib")

LABELS = {
    "corenet": {"cold": 12_000.0, "warm": 200_000.0},
    "subword": {"cold": 5_000.0, "warm": 2_000_000.0},
    "reference": {"cold": 1_000.0, "warm": 1_250.0},
}
LOADERS = {"fast": {224: 1500.0, 128: 1800.0}, "webdataset": {224: 600.0, 128: 750.0}}
RATIOS = {"fast": {224: 2.51, 128: 2.39}}


def test_points_are_captions_a_second_on_a_logarithmic_axis_that_has_no_zero_for_bars() -> None:
    axes = reports.labels(LABELS, "29,000 captions").axes[0]
    assert axes.get_xscale() == "log"
    assert not axes.patches
    points = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    assert points == [v for row in LABELS.values() for v in row.values()]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(LABELS)
    written = [text.get_text() for text in axes.texts]
    assert written == [
        "29,000 captions",
        *("12,000  12 x", "200,000  160 x", "5,000  5.0 x", "2 M  1,600 x", "1,000", "1,250"),
    ]


def test_without_a_reference_labels_are_not_compared() -> None:
    axes = reports.labels({"corenet": LABELS["corenet"]}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["12,000", "200,000"]


def test_bars_are_images_a_second_by_path_and_size() -> None:
    figure = reports.loader(LOADERS, RATIOS, "1,024 JPEG")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [1500, 1800, 600, 750]
    assert [text.get_text() for text in axes.get_yticklabels()] == list(LOADERS)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["224 px", "128 px"]
    written = [text.get_text() for text in axes.texts]
    assert written == ["1,024 JPEG", "1,500  2.51 x", "1,800  2.39 x", "600", "750"]


def test_without_webdataset_loaders_are_not_compared() -> None:
    axes = reports.loader({"fast": LOADERS["fast"]}, {}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["1,500", "1,800"]
