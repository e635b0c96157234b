"""Figures and pages, made from results alone. Figures need matplotlib (`pip install 'catlipctl[plot]'`)."""

from catlipctl.reports.curves import curves
from catlipctl.reports.findings import Findings, find
from catlipctl.reports.overlap import coverage, occurrences, overlap, save_overlap
from catlipctl.reports.page import Cell, Figure, Folded, Link, Links, Section, Table, page
from catlipctl.reports.report import Report, report, sections, unused, write
from catlipctl.reports.save import embed, save, save_table
from catlipctl.reports.saves import saves
from catlipctl.reports.step import step
from catlipctl.reports.sweep import sweep
from catlipctl.reports.tagger import tagger
from catlipctl.reports.throughput import labels, loader, loop
from catlipctl.reports.throughput import loss as head_and_loss
from catlipctl.reports.train_sizes import SizeScore, TrainSizes, train_sizes
from catlipctl.reports.training import loss, run_loss
from catlipctl.reports.transfer import AccuracyRow, Picture, gallery, inits, probe
from catlipctl.reports.vocabulary import label_frequencies, sizes_by_threshold

__all__ = [
    "AccuracyRow",
    "Cell",
    "Figure",
    "Findings",
    "Folded",
    "Link",
    "Links",
    "Picture",
    "Report",
    "Section",
    "SizeScore",
    "Table",
    "TrainSizes",
    "coverage",
    "curves",
    "embed",
    "find",
    "gallery",
    "head_and_loss",
    "inits",
    "label_frequencies",
    "labels",
    "loader",
    "loop",
    "loss",
    "occurrences",
    "overlap",
    "page",
    "probe",
    "report",
    "run_loss",
    "save",
    "save_overlap",
    "save_table",
    "saves",
    "sections",
    "sizes_by_threshold",
    "step",
    "sweep",
    "tagger",
    "train_sizes",
    "unused",
    "write",
]
