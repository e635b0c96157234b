"""The page of a run: all that lies under it, with links that work; and of a run that says less."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from catlipctl import reports
from catlipctl.bench.step_result import StepBenchmark
from catlipctl.errors import DataError, UsageError
from catlipctl.labels import targets
from catlipctl.results import Measurement
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.overlap import Overlaps, overlap

from .conftest import step_benchmark

pytest.importorskip("matplotlib")

Read = Callable[[str], Any]
PROBE = "linear probe, fast"
SEVERAL = "multi-label linear probe, fast"
TUNING = "fine-tuning: all weights"
HOSTILE = "<script>alert(1)</script>"


def evaluation(
    folder: Path, protocol: str = PROBE, test: str = "abc", *, later: bool = True, **fields: Any
) -> Path:
    """A result.json as `eval` writes it, `later` with what versions since have added."""
    document = {
        **Measurement(protocol=protocol, data={"test": {"source": "photos/test", "hash": test}}).document(),
        "split": "the images of photos/test",
        "acc1": 0.6,
        "acc5": 0.9,
        "mean_per_class_recall": 0.55,
        "majority_share": 0.3,
        "classes": 3,
        "train_images": 620,
        "test_images": 6,
        "init": "transfer",
        "random_backbone": False,
        **fields,
    }
    if later:
        document |= {
            "acc1_interval": [0.512, 0.688],
            "zero_shot_acc1": 0.45,
            "zero_shot_acc1_interval": [0.4, 0.5],
            "command": ["catlipctl", "eval", "lp", "--data", "my photos"],
            "date": "2026-11-24T23:01:00+01:00",
        }
    else:
        del document["command"], document["date"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(document))
    if later:
        rows = [("a.png", "cat", "cat"), ("b.png", "cat", HOSTILE), (HOSTILE, "dog", "dog")]
        with (folder / "predictions.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["sample", "truth", "predicted", "probability"])
            writer.writerows([*row, 0.75] for row in rows)
    return folder / "result.json"


def several_labels(folder: Path) -> None:
    """A result.json of a probe of images with several labels, the last class of no test image."""
    document = {
        **Measurement(protocol=SEVERAL, data={"test": {"source": "scenes", "hash": "ghi"}}).document(),
        "split": "the images of scenes",
        "macro_map": 0.5,
        "macro_map_interval": [0.4, 0.6],
        "micro_map": 0.7,
        "weighted_map": 0.65,
        "zero_shot_macro_map": 0.25,
        "chance_map": 0.125,
        "empty_classes": 1,
        "labels_per_image": 2.5,
        "classes": 3,
        "train_images": 40,
        "test_images": 8,
        "per_class": [
            {"label": "sky", "images": 7, "average_precision": 0.75},
            {"label": "lamp", "images": 1, "average_precision": 0.25},
            {"label": "boat", "images": 0, "average_precision": None},
        ],
    }
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(document))
    (folder / "predictions.csv").write_text("sample,truth,likeliest\n0,sky; lamp,sky 0.8\n")


def stepped() -> StepBenchmark:
    parts = {"image tower": 1.0, "optimiser": 1.0}
    return step_benchmark({"catlip": parts, "clip": parts}, {"catlip": [1], "clip": [1]})


METRICS = [
    {
        "step": 1,
        "samples": 8,
        "epoch": 0.1,
        "loss": 9.0,
        "lr": 0.0,
        "unlabelled": 0.5,
        "seconds": 1.0,
        "replaced": 0,
    },
    {
        "step": 3,
        "samples": 24,
        "epoch": 0.3,
        "loss": 4.0,
        "lr": 0.2,
        "unlabelled": 0.25,
        "seconds": 2.0,
        "replaced": 1,
    },
    {
        "step": 4,
        "samples": 32,
        "epoch": 0.4,
        "loss": 3.0,
        "lr": 0.1,
        "unlabelled": 0.0,
        "seconds": 4.0,
        "replaced": 2,
    },
]


def start(step: int, *command: str) -> str:
    row = {
        "time": f"2026-11-24T22:0{step}:00+01:00",
        "command": ["catlipctl", "pretrain", *command],
        "step": step,
        "processes": 2,
        "machine": {"platform": "Plan 9", "cores": 64, "memory_bytes": 2**37, "accelerators": ["H100"]},
        "versions": {"torch": "2.99.0"},
    }
    return json.dumps(row) + "\n"


def bare(run: Path) -> Path:
    """A run as earlier versions left it, with an evaluation of theirs."""
    (run / "checkpoints").mkdir(parents=True)
    recipe = {
        "model": {"name": HOSTILE, "image_size": 32},
        "data": {"sources": ["emoji:pairs"]},
        "objective": "catlip",
        "optimiser": {"lr": 0.25},
        "schedule": {"warmup_steps": 2},
    }
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in METRICS))
    Vocabulary(
        ("n02084071", "n02121620"), (30, 20), "corenet", "1", "p", 60, 15, "occurrences", 5, 2, 4
    ).save(run / "vocabulary.json")
    evaluation(run / "eval" / "lp-old-1", later=False)
    return run


def full(run: Path) -> Path:
    """A run with all that is made of it."""
    bare(run)
    (run / "starts.jsonl").write_text(start(0, "mine.yaml", "--set", "seed=1") + start(2, "--resume"))
    account = run / "transfer" / "places365" / "account.csv"
    account.parent.mkdir(parents=True)
    account.write_text("label,how\na,exact\nb,random\nc,exact\nd,partial\ne,averaged\n")
    evaluation(run / "eval" / "lp-photos-1")
    evaluation(run / "eval" / "lp-photos-2", acc1=0.2, random_backbone=True)
    evaluation(run / "eval" / "lp-other-1", test="def")
    several_labels(run / "eval" / "lp-scenes-1")
    evaluation(run / "eval" / "ft-photos", TUNING)
    (run / "eval" / "ft-photos" / "metrics.jsonl").write_text(json.dumps(METRICS[0]) + "\n")
    vocabulary = Vocabulary(("n02084071",), (30,), "corenet", "1", "p", 60, 15, "occurrences", 5, 2, 4)
    compared = overlap(vocabulary, targets.load("cifar10"), name=str(run))
    reports.save_overlap(
        Overlaps(target="cifar10", senses="wnid", overlaps=[compared]), run / "overlap-cifar10"
    )
    stepped().write(run / "bench" / "step-1.json")
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> reports.Report:
    """The page of a full run."""
    return reports.report([full(tmp_path_factory.mktemp("runs") / "my run")])


@pytest.fixture
def shown(made: reports.Report, read: Read) -> Any:
    """That page as a parser reads it."""
    return read(Path(made.path).read_text(encoding="utf-8"))


def test_every_link_of_the_page_leads_to_what_it_names(made: reports.Report, shown: Any) -> None:
    run = Path(made.runs[0])
    assert Path(made.path) == run / "report.html"
    text = Path(made.path).read_text(encoding="utf-8")
    found = shown
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<script", re.sub(r"base64,[\w+/=]+", "", text))
    ids = {value for _, name, value in found.attributes if name == "id"}
    links = [str(value) for _, name, value in found.attributes if name in ("href", "src", "srcset")]
    files = set()
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
        elif not link.startswith("data:image/svg+xml;base64,"):
            target = (run / unquote(link)).resolve()
            assert target.exists(), link
            files.add(str(target.relative_to(run.resolve())))
    assert {
        "recipe.yaml",
        "metrics.jsonl",
        "vocabulary.json",
        "transfer/places365/account.csv",
        "eval/lp-photos-1/result.json",
        "eval/lp-photos-1/predictions.csv",
        "eval/ft-photos/metrics.jsonl",
        "overlap-cifar10/matches.csv",
        "bench/step-1.json",
    } <= files
    # Loss, labels, overlap and its thresholds, fine-tuning loss, step: each for two widths.
    assert sum(link.startswith("data:") for link in links) == 2 * 6
    assert "<h1>" in text
    assert text.count(HOSTILE) == 0
    assert len(made.results) == 8


def test_the_page_says_what_was_measured(shown: Any) -> None:
    facts = {row[0]: row[1] for table in shown.tables for row in table if len(row) == 2}
    seen = sum(row["unlabelled"] * images for row, images in zip(METRICS, (8, 16, 8), strict=True))
    assert facts["images without a label"] == f"{seen / 32:.1%} of those seen"
    assert facts["captions without a label"] == "15 (25.0%)"
    assert facts["tower"] == f"{HOSTILE} at 32 px"
    assert facts["loss"].startswith("9 at first, 3 at last")
    accounts = next(table for table in shown.tables if table[0][0] == "account")
    assert accounts == [
        ["account", "labels", "exact", "averaged", "partial", "random"],
        ["places365", "5", "2", "1", "1", "1"],
    ]
    matrix = next(table for table in shown.tables if table[0][:2] == ["", HOSTILE])
    assert matrix == [["", HOSTILE, "cat", "dog"], ["cat", "1", "1", ""], ["dog", "", "", "1"]]
    recall = next(table for table in shown.tables if table[0][0] == "class")
    assert recall[1] == ["cat", "2", "50.0%", f"{HOSTILE} (1)"]


def test_protocols_and_test_images_are_never_mixed_in_a_column(shown: Any) -> None:
    tables = [table for table in shown.tables if "top-1" in table[0]]
    captions = [text for tag, text in shown.texts if tag == "figcaption" and "Test images:" in text]
    named = {re.split(r"\. Test images: ", caption)[0] for caption in captions}
    assert named == {PROBE, TUNING, SEVERAL}
    assert len(tables) == len(captions) - 1 == 3
    rows = [sorted(row[0] for row in table[1:]) for table in tables]
    assert sorted(rows) == [
        ["ft-photos"],
        ["lp-old-1", "lp-photos-1", "lp-photos-2, untrained tower"],
        ["lp-other-1"],
    ]
    (figures,) = [row for table in tables for row in table if row[0] == "lp-photos-1"]
    assert (figures[1], figures[4]) == ("60.0% (51.2 to 68.8)", "45.0% (40.0 to 50.0)")
    (old,) = [row for table in tables for row in table if row[0] == "lp-old-1"]
    assert (old[1], old[4]) == ("60.0%", "–")
    (several,) = [table for table in shown.tables if "macro mAP" in table[0]]
    assert several[1][:6] == ["lp-scenes-1", "50.0% (40.0 to 60.0)", "70.0%", "65.0%", "25.0%", "40"]
    (precisions,) = [table for table in shown.tables if "average precision" in table[0]]
    assert precisions[1:] == [["lamp", "1", "25.0%"], ["sky", "7", "75.0%"]]


def test_the_page_says_how_it_was_made(made: reports.Report, shown: Any) -> None:
    run = made.runs[0]
    (table,) = [table for table in shown.tables if table[0][:3] == ["what", "when", "command"]]
    rows = {(row[0], row[2]): row for row in table[1:]}
    first = rows[run, "catlipctl pretrain mine.yaml --set seed=1"]
    assert first[1:2] + first[3:] == ["2026-11-24 22:00:00+01:00", "0", "2"]
    assert rows[run, "catlipctl pretrain --resume"][3] == "2"
    assert ("lp-photos-1", "catlipctl eval lp --data 'my photos'") in rows
    assert any(name == "lp-old-1" and "not recorded" in command for name, command in rows)
    (machines,) = [table for table in shown.tables if table[0][0] == "machine"]
    assert ["Plan 9, 64 cores, 128 GiB, H100", run] in machines
    (versions,) = [table for table in shown.tables if table[0][0] == "versions"]
    assert ["torch 2.99.0", run] in versions


def test_a_run_that_says_less_names_the_commands_that_say_more(tmp_path: Path, read: Read) -> None:
    run = bare(tmp_path / "run")
    text = Path(reports.report([run]).path).read_text(encoding="utf-8")
    said = [text for _, text in read(text).texts]
    assert f"catlipctl vocab overlap --target imagenet {run}" in said
    assert "predictions.csv" in said
    assert any("not recorded" in text for text in said)
    for missing in ("metrics.jsonl", "vocabulary.json", "recipe.yaml", "eval/lp-old-1/result.json"):
        (run / missing).unlink()
    read(Path(reports.report([run]).path).read_text(encoding="utf-8"))


def test_pages_are_numbered_and_results_can_be_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    run = bare(Path("runs/a"))
    assert [reports.report([run]).path for _ in range(2)] == ["runs/a/report.html", "runs/a/report-2.html"]
    evaluation(Path("lp"))
    stepped().write(Path("bench/step-1.json"))
    alone = reports.report([Path("lp"), Path("bench"), Path("bench/step-1.json")])
    assert (alone.path, alone.runs) == ("report.html", [])
    assert alone.results == ["lp/result.json", "bench/step-1.json"]
    two = reports.report([run, bare(tmp_path / "second")], tmp_path / "deep" / "two.html")
    assert len(two.runs) == 2
    assert Path(two.path).is_file()
    with pytest.raises(UsageError, match="nothing-here"):
        reports.report([Path("nothing-here")])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"acc1": "much"}',
        "[" * 100_000,
        '{"overlaps": 3}',
        '{"a": 1}',
        "\0",
        '{"ratio": null}',
    ],
    ids=range(9),
)
def test_a_damaged_result_is_told(text: str, tmp_path: Path) -> None:
    damaged = bare(tmp_path) / "eval" / "lp-old-1" / "result.json"
    damaged.write_text(text)
    found = reports.find([tmp_path])
    assert [str(damaged) in fault for fault in found.faults] == [True]
    assert found.results == []
    (section,) = [each for each in reports.sections(found) if each.title == "What could not be read"]
    assert str(damaged) in str(section.parts)
    with pytest.raises(DataError, match=re.escape(str(damaged))):
        reports.report([damaged])


@pytest.mark.parametrize(
    ("name", "text", "faults"),
    [
        ("starts.jsonl", '[1]\n{"time": 3, "command": "x", "step": [], "machine": [], "versions": 4}\n{', 0),
        ("starts.jsonl", '{"machine": {"memory_bytes": "x", "accelerators": 3}}\n', 0),
        ("metrics.jsonl", '{"loss": "x"}\n{"loss": 1.5}\n[2]\nnull\n{', 0),
        ("metrics.jsonl", '{"step": 1, "samples": 8, "loss": Infinity}\n', 0),
        ("recipe.yaml", "[not a mapping]", 1),
        ("recipe.yaml", "model: 3\ndata: [x]\nschedule: 5", 1),
        ("recipe.yaml", "#" * 2**21, 1),
        ("vocabulary.json", "{}", 1),
        ("transfer/places365/account.csv", "label\na\n", 1),
        ("eval/lp-old-1/predictions.csv", "sample\n1\n", 1),
    ],
    ids=range(10),
)
def test_damaged_files_beside_do_not_end_the_page(
    name: str, text: str, faults: int, tmp_path: Path, read: Read
) -> None:
    run = bare(tmp_path)
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_text(text)
    found = reports.find([run])
    assert [str(run / name) in fault for fault in found.faults] == [True] * faults
    sections = reports.sections(found)
    text = reports.page("t", [*sections[:1], sections[-1]], run)
    read(text)
    assert len(text) < 2**20
