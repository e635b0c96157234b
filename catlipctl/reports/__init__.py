"""Figures and pages, made from results alone. Figures need matplotlib (`pip install 'catlipctl[plot]'`)."""

from catlipctl.reports.overlap import coverage, occurrences, overlap
from catlipctl.reports.page import Section, Table, page
from catlipctl.reports.save import embed, save, save_table
from catlipctl.reports.step import step
from catlipctl.reports.throughput import labels, loader
from catlipctl.reports.training import loss
from catlipctl.reports.transfer import AccuracyRow, Picture, gallery, inits, probe
from catlipctl.reports.vocabulary import label_frequencies, sizes_by_threshold

__all__ = [
    "AccuracyRow",
    "Picture",
    "Section",
    "Table",
    "coverage",
    "embed",
    "gallery",
    "inits",
    "label_frequencies",
    "labels",
    "loader",
    "loss",
    "occurrences",
    "overlap",
    "page",
    "probe",
    "save",
    "save_table",
    "sizes_by_threshold",
    "step",
]
